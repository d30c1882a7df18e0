"""The command ``lamda``: look at models in a store, bundle them, serve bundles.

A REF is a name or an address (or its beginning) in a store, or the directory of a bundle.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from lamda.cli import care, deploying, exchange, knowing, laws, remotes, signing
from lamda.cli.arguments import STORE

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

    for group in (knowing, deploying, care, exchange, signing, remotes, laws):
        group.add(command, in_store)
    return parser
