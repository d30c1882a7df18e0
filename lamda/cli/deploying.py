"""Commands that bundle and serve: bundle, serve, invoke."""

import argparse
import inspect
import os
import sys
from typing import NoReturn

from lamda.cli.arguments import Command, numbers_of, size_of, store_of, tell


def add(command: Command, in_store: Command) -> None:
    """The commands that bundle and serve."""
    bundle = in_store(
        "bundle",
        _bundle,
        "write a bundle: what serve loads",
        "lamda bundle news out --store store --batch 1,8 --size t=128 --tokenizer tokenizer.json",
    )
    bundle.set_defaults(refuse=bundle.error)
    bundle.add_argument("directory", metavar="OUT", help="the directory to write")
    bundle.add_argument("--batch", type=numbers_of, metavar="N,N", help="sizes of the batch")
    bundle.add_argument(
        "--size", type=size_of, action="append", default=[], metavar="NAME=N,N",
        help="sizes of a named dimension; may be given again",
    )  # fmt: skip
    bundle.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json: text goes in")
    bundle.add_argument(
        "--sign", action="append", default=[], metavar="KEY",
        help="sign the bundle with this private key; may be given again",
    )  # fmt: skip
    serve = command("serve", _serve, "serve a bundle over HTTP", "lamda serve out --port 8000")
    serve.add_argument("directory", metavar="DIR", help="the directory of a bundle")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--plugin", metavar="PATH", help="the PJRT plugin to run with")
    _add_required(serve)
    invoke = command(
        "invoke",
        _invoke,
        "answer one request with a bundle; the answer goes to standard output",
        "echo '[[1, 2]]' | lamda invoke out",
    )
    invoke.add_argument("directory", metavar="DIR", help="the directory of a bundle")
    invoke.add_argument(
        "request",
        nargs="?",
        default="-",
        metavar="FILE",
        help="the request (default: standard input)",
    )
    invoke.add_argument("--plugin", metavar="PATH", help="the PJRT plugin to run with")
    _add_required(invoke)


def _add_required(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--require-key", action="append", default=[], metavar="PUB",
        help="refuse a bundle that this public key has not signed; may be given again",
    )  # fmt: skip


def _bundle(chosen: argparse.Namespace) -> None:
    from lamda.compile import bundle

    sizes = dict(chosen.size)
    for name in sizes.keys() & inspect.signature(bundle).parameters.keys():
        return chosen.refuse(
            f"--size {name}: an option of lm.bundle has that name. Say the sizes of the batch "
            "with --batch, and give another dimension another name"
        )
    report = bundle(
        store_of(chosen).get(chosen.ref),
        chosen.directory,
        name=chosen.ref,
        batch=chosen.batch,
        tokenizer=chosen.tokenizer,
        sign=chosen.sign,
        **sizes,
    )
    text = (
        f"{report.directory}: {report.address}, {report.compiled} compiled, "
        f"{report.added:,} bytes added"
    )
    tell(chosen, report._asdict() | {"directory": str(report.directory)}, [text])


def _serve(chosen: argparse.Namespace) -> NoReturn:
    """Become the serving process, which imports neither jax nor lamda."""
    options = ["--host", chosen.host, "--port", str(chosen.port), *_required(chosen)]
    _become([*options, *_plugin(chosen), "--", chosen.directory])


def _invoke(chosen: argparse.Namespace) -> NoReturn:
    options = [f"--request={chosen.request}", *_plugin(chosen), *_required(chosen)]
    _become([*options, "--", chosen.directory])


def _plugin(chosen: argparse.Namespace) -> list[str]:
    return ["--plugin", chosen.plugin] if chosen.plugin else []


def _required(chosen: argparse.Namespace) -> list[str]:
    return [part for key in chosen.require_key for part in ("--require-key", key)]


def _become(arguments: list[str]) -> NoReturn:
    """Without the directory where one stands on the path: a bundle could bring modules of its own,
    and these would run before anybody asks who signed it."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "serve", *arguments])
