"""Commands that bundle and serve: bundle, serve, invoke, deploy."""

import argparse
import inspect
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from lamda.cli.arguments import (
    STORE,
    Command,
    count,
    is_bundle,
    numbers_of,
    size_of,
    store_of,
    tell,
)

PLATFORMS = (
    "aws", "azure", "gcp", "knative", "kserve", "openfaas", "openwhisk", "ray", "sagemaker",
)  # fmt: skip
"""Those of :mod:`lamda.deploy`, which is not imported to say what there is."""


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
    _add_sizes(bundle)
    bundle.add_argument(
        "--padded", action="append", default=[], metavar="NAME",
        help="a dimension along which zeros after the values change nothing; may be given again",
    )  # fmt: skip
    bundle.add_argument(
        "--target", action="append", metavar="NAME",
        help="a machine to compile for: cpu (default), cpu:native, cuda:h100, tpu:v5e, ...; "
        "may be given again, the preferred one first",
    )  # fmt: skip
    bundle.add_argument("--plugin", action="store_true", help="put the plugins into the bundle")
    bundle.add_argument(
        "--tune", action="store_true", help="try flags of the compiler, and keep the fastest"
    )
    bundle.add_argument(
        "--limit", metavar="PLATFORM",
        help="refuse what is too large for a platform: aws-lambda-zip, ...",
    )  # fmt: skip
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
    _add_deploy(command)


def _add_deploy(command: Command) -> None:
    deploy = command(
        "deploy",
        _deploy,
        "write what a platform's own tool needs to deploy a model, and tell its command",
        "lamda deploy aws news --store store --out news-aws --batch 1,8",
    )
    deploy.add_argument("platform", metavar="PLATFORM", help=f"one of {', '.join(PLATFORMS)}")
    deploy.add_argument("ref", metavar="REF", help="a ref, an address, or a bundle directory")
    deploy.add_argument("--out", required=True, metavar="DIR", help="the directory to write")
    deploy.add_argument("--store", default=STORE, metavar="DIR", help=f"default: {STORE}")
    deploy.add_argument("--name", metavar="NAME", help="what to call the function")
    deploy.add_argument("--registry", metavar="HOST/PATH", help="where the image is pushed to")
    deploy.add_argument("--memory", type=count, metavar="MB", help="the memory to ask for")
    deploy.add_argument("--timeout", type=count, metavar="SECONDS", help="the longest answer")
    deploy.add_argument(
        "--container", action="store_true", help="an image, where a zip is the default"
    )
    _add_sizes(deploy)


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=numbers_of, metavar="N,N", help="sizes of the batch")
    parser.add_argument(
        "--size", type=size_of, action="append", default=[], metavar="NAME=N,N",
        help="sizes of a named dimension; may be given again",
    )  # fmt: skip
    parser.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json: text goes in")


def _add_required(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--require-key", action="append", default=[], metavar="PUB",
        help="refuse a bundle that this public key has not signed; may be given again",
    )  # fmt: skip


def _bundle(chosen: argparse.Namespace) -> None:
    from lamda.compile import bundle
    from lamda.compile.bundle import TARGETS

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
        targets=chosen.target or TARGETS,
        batch=chosen.batch,
        tokenizer=chosen.tokenizer,
        padded=chosen.padded,
        plugin=chosen.plugin,
        tune=chosen.tune,
        limit=chosen.limit,
        sign=chosen.sign,
        **sizes,
    )
    text = (
        f"{report.directory}: {report.address}, {report.compiled} compiled, "
        f"{report.added:,} bytes added"
    )
    tell(chosen, _plain(report), [text, *map(_told, report.tuned)])


def _plain(value: Any) -> Any:
    """A report as JSON values: what has names as an object."""
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, os.PathLike) else value


def _told(tuned: Any) -> str:
    """What tuning found, in a line."""
    at = " ".join(f"{name}={size}" for name, size in tuned.sizes.items())
    flags = " ".join(f"--{name}={value}" for name, value in tuned.flags.items()) or "no flags"
    gained = f", {tuned.gained:.0%} of the time saved" if tuned.flags and tuned.tries else ""
    return f"{tuned.target} {at}: {tuned.note or flags + gained}"


def _deploy(chosen: argparse.Namespace) -> None:
    from lamda.deploy import deploy, way_to

    way_to(chosen.platform, chosen.container)  # before anything is compiled for it
    directory, out = chosen.ref, Path(chosen.out)
    if not is_bundle(chosen):
        directory = out / "bundle"
        _bundle_into(chosen, directory)
    done = deploy(
        chosen.platform, directory, out, name=chosen.name, registry=chosen.registry,
        memory=chosen.memory, timeout=chosen.timeout, container=chosen.container,
    )  # fmt: skip
    print(f"{done.directory}: {', '.join(done.files)}")
    print("run next:", *done.command, sep="\n  ")


def _bundle_into(chosen: argparse.Namespace, directory: Path) -> None:
    from lamda.compile import bundle

    bundle(
        store_of(chosen).get(chosen.ref), directory, name=chosen.ref, batch=chosen.batch,
        tokenizer=chosen.tokenizer, **dict(chosen.size),
    )  # fmt: skip


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
