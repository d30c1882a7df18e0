"""The command ``lamda``: look at models in a store, bundle them, serve bundles.

A REF is a name or an address (or its beginning) in a store, or the directory of a bundle.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

STORE = "lamda-store"

EPILOG = """\
examples:
  lamda log news --store examples/out/store
  lamda bundle news out --store examples/out/store --batch 1,8 --size t=128
  lamda serve out --port 8000
  echo '{"text": ["profits rose"]}' | lamda invoke out
"""


class _Parser(argparse.ArgumentParser):
    """A parser that answers a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code: 0, 1 for what failed, 2 for a wrong argument."""
    chosen = _parser().parse_args(arguments)
    try:
        return chosen.run(chosen) or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_ours(error):
            raise
        text = str(error.args[0] if error.args else error)
        print(f"lamda: {text}", file=sys.stderr)
        return 1


def _is_ours(error: Exception) -> bool:
    """Whether an error's text is for people: ours, or the operating system's."""
    from lamda.errors import LamdaError
    from serve.errors import ServeError

    return isinstance(error, LamdaError | ServeError | OSError)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser("lamda", description=__doc__, epilog=EPILOG, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., Any], help: str, example: str) -> Any:
        made = commands.add_parser(
            name, help=help, description=help, epilog=f"example:\n  {example}", formatter_class=form
        )
        made.set_defaults(run=run)
        return made

    def in_store(name: str, run: Callable[..., Any], help: str, example: str) -> Any:
        made = command(name, run, help, example)
        made.add_argument("ref", metavar="REF", help="a ref, an address, or a bundle directory")
        made.add_argument(
            "--store", default=STORE, metavar="DIR", help=f"the store (default: {STORE})"
        )
        return made

    in_store("who", _who, "print the address of a model", "lamda who news --store store")
    show = in_store("show", _show, "show term, types and tensors", "lamda show news --store store")
    show.add_argument("--svg", metavar="FILE", help="draw the model to an SVG file as well")
    diff = in_store("diff", _diff, "tell what changed", "lamda diff news 1a2b3c4d --store store")
    diff.add_argument("other", metavar="OTHER", help="the ref or address to compare with")
    in_store("log", _log, "list a version and all before it", "lamda log news --store store")
    bundle = in_store(
        "bundle",
        _bundle,
        "write a bundle: what serve loads",
        "lamda bundle news out --store store --batch 1,8 --size t=128 --tokenizer tokenizer.json",
    )
    bundle.add_argument("directory", metavar="OUT", help="the directory to write")
    bundle.add_argument("--batch", type=_numbers, metavar="N,N", help="sizes of the batch")
    bundle.add_argument(
        "--size", type=_size, action="append", default=[], metavar="NAME=N,N",
        help="sizes of a named dimension; may be given again",
    )  # fmt: skip
    bundle.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json: text goes in")
    serve = command("serve", _serve, "serve a bundle over HTTP", "lamda serve out --port 8000")
    serve.add_argument("directory", metavar="DIR", help="the directory of a bundle")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--plugin", metavar="PATH", help="the PJRT plugin to run with")
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
    check = command(
        "check",
        _check,
        "check the laws of a model, a combinator or a strategy of models",
        "lamda check models:encoder --suite category --tier numpy",
    )
    check.set_defaults(refuse=check.error)
    check.add_argument(
        "ref", metavar="REF_OR_MODULE:NAME", help="a ref or an address in a store, or MODULE:NAME"
    )
    check.add_argument("--store", default=STORE, metavar="DIR", help=f"default: {STORE}")
    check.add_argument(
        "--suite", action="append", default=[], metavar="NAME", help="a suite; may be given again"
    )
    check.add_argument(
        "--tier", choices=("abstract", "numpy", "xla"), default="numpy",
        help="what laws may take (default: numpy)",
    )  # fmt: skip
    check.add_argument("--examples", type=_count, default=100, metavar="N", help="default: 100")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="other examples")
    check.add_argument("--json", action="store_true", help="write JSON and no table")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _numbers(text: str) -> list[int]:
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 1,8,32, got {text!r}") from None


def _size(text: str) -> tuple[str, list[int]]:
    name, equals, numbers = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"expected a size like t=32,128, got {text!r}")
    return name, _numbers(numbers)


def _record(chosen: argparse.Namespace) -> dict[str, Any]:
    """What is known of REF without loading it: its record, or the manifest of a bundle."""
    if _is_bundle(chosen.ref):
        import serve.bundle

        return serve.bundle.read(chosen.ref).manifest
    return _store(chosen).record(chosen.ref)


def _is_bundle(ref: str) -> bool:
    return (Path(ref) / "manifest.json").exists()


def _store(chosen: argparse.Namespace) -> Any:
    from lamda.store import Store

    return Store.open(chosen.store)


def _who(chosen: argparse.Namespace) -> None:
    print(_record(chosen)["address"])


def _show(chosen: argparse.Namespace) -> None:
    from lamda import types
    from lamda.table import tabulate

    record = _record(chosen)
    sides = (types.show(types.from_json(record[side])) for side in ("input", "output"))
    print(record["name"])
    print(f"  who     {record['address']}")
    print(f"  pred    {_address(record['pred']) or 'none: the first version'}")
    for side, text in zip(("input", "output"), sides, strict=True):
        print(f"  {side:<7} {text}")
    if "slots" in record:
        print(textwrap.indent(tabulate(_rows(record)), "  "))
    if chosen.svg:
        from lamda.store.files import write_file

        drawing = _store(chosen).get(chosen.ref).draw()
        write_file(Path(chosen.svg).absolute(), drawing.encode())
        print(f"  drawn   {chosen.svg}")


def _address(pred: str | dict[str, str] | None) -> str | None:
    """The address of the version before, as a record or a manifest of a bundle tells it."""
    return pred["address"] if isinstance(pred, dict) else pred


def _rows(record: dict[str, Any]) -> list[Any]:
    """The tensors of a stored record, which is not loaded."""
    import jax.numpy as jnp

    from lamda.table import Row
    from lamda.types import ArrayType

    return [
        Row(
            tensor["path"],
            ArrayType(tensor["dtype"], tuple(tensor["shape"])),
            not slot["frozen"] and jnp.issubdtype(tensor["dtype"], jnp.inexact),
            tensor["digest"],
        )
        for slot in record["slots"]
        for tensor in slot["tensors"]
    ]


def _diff(chosen: argparse.Namespace) -> None:
    from lamda.diff import diff

    store = _store(chosen)
    print(diff(store.get(chosen.ref), store.get(chosen.other)))


def _log(chosen: argparse.Namespace) -> None:
    for version in _store(chosen).log(chosen.ref):
        print(f"{version.who}  +{version.added:,} bytes  {version.name}")


def _bundle(chosen: argparse.Namespace) -> None:
    from lamda.compile import bundle

    report = bundle(
        _store(chosen).get(chosen.ref),
        chosen.directory,
        name=chosen.ref,
        batch=chosen.batch,
        tokenizer=chosen.tokenizer,
        **dict(chosen.size),
    )
    print(
        f"{report.directory}: {report.address}, {report.compiled} compiled, "
        f"{report.added:,} bytes added"
    )


def _check(chosen: argparse.Namespace) -> int:
    from lamda import errors

    try:
        from lamda.testing import command
    except ModuleNotFoundError as error:
        if error.name not in ("hypothesis", "pytest"):
            raise
        return chosen.refuse(errors.NO_TESTING.format(name=error.name))
    try:
        value = command.find(chosen.ref, chosen.store)
        chosen.subject, chosen.suites = command.choose(value, chosen.suite)
    except errors.LamdaError as error:
        return chosen.refuse(str(error.args[0]))
    return command.check(chosen)


def _serve(chosen: argparse.Namespace) -> NoReturn:
    """Become the serving process, which imports neither jax nor lamda."""
    options = ["--host", chosen.host, "--port", str(chosen.port)]
    _become([chosen.directory, *options, *_plugin(chosen)])


def _invoke(chosen: argparse.Namespace) -> NoReturn:
    _become([chosen.directory, "--request", chosen.request, *_plugin(chosen)])


def _plugin(chosen: argparse.Namespace) -> list[str]:
    return ["--plugin", chosen.plugin] if chosen.plugin else []


def _become(arguments: list[str]) -> NoReturn:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "serve", *arguments])


if __name__ == "__main__":
    sys.exit(main())
