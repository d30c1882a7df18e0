"""The command ``lamda``: look at models in a store, bundle them, serve bundles.

A REF is a name or an address (or its beginning) in a store, or the directory of a bundle. Where
both are there the name is meant, and ./REF is the directory.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from lamda.cli import care, data, deploying, exchange, knowing, laws, remotes, signing, training
from lamda.cli.arguments import STORE, plain

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
    """Run the command; its exit code: 0, 1 for what failed, 2 for a wrong argument.

    As in a shell it is 130 after Ctrl-C, and 141 where nobody reads what is printed.
    """
    _print_every_name()
    try:
        try:
            chosen = _parser().parse_args(arguments)
            return chosen.run(chosen) or 0
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what can not be printed is told here, and not at the exit
    except BrokenPipeError:
        _print_no_more()
        return 141
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if (text := _said(error)) is None:
            raise
        _print_no_more()
        print(f"lamda: {plain(text)}", file=sys.stderr)
        return 1


def _said(error: Exception) -> str | None:
    """An error for people: ours, or the operating system's; ``None`` for a mistake of lamda."""
    from lamda import errors
    from serve.errors import ServeError

    if isinstance(error, OSError) and error.strerror:
        path = error.filename2 or error.filename  # of a rename: where it should have gone
        place = "standard output" if path is None else os.fsdecode(path)
        return errors.OF_SYSTEM.format(path=place, error=error.strerror)
    if isinstance(error, RecursionError | MemoryError):  # of what a stranger wrote
        return errors.TOO_MUCH.format(error=type(error).__name__)
    return str(error) if isinstance(error, errors.LamdaError | ServeError | OSError) else None


def _print_every_name() -> None:
    """A name that the terminal has no letters for is printed by its numbers."""
    with contextlib.suppress(AttributeError):  # of a test, or where there is no output
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]


def _print_no_more() -> None:
    """What is left in the buffer of a closed or full output would fail again at the exit."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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

    def in_store(
        name: str, run: Callable[..., Any], help: str, example: str, bundled: bool = False
    ) -> Any:
        made = command(name, run, help, example)
        which = "a ref, an address, or a bundle directory" if bundled else "a ref or an address"
        made.add_argument("ref", metavar="REF", help=which)
        made.add_argument(
            "--store", default=STORE, metavar="DIR", help=f"the store (default: {STORE})"
        )
        made.add_argument("--json", action="store_true", help="write JSON")
        return made

    for group in (knowing, data, training, deploying, care, exchange, signing, remotes, laws):
        group.add(command, in_store)
    return parser
