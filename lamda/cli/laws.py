"""The command that checks laws: check."""

import argparse

from lamda.cli.arguments import STORE, Command, count


def add(command: Command, in_store: Command) -> None:
    """The command that checks laws."""
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
    check.add_argument("--examples", type=count, default=100, metavar="N", help="default: 100")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="other examples")
    check.add_argument("--json", action="store_true", help="write JSON and no table")


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
