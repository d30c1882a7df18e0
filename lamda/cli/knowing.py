"""Commands that look at models: who, show, diff, log."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

from lamda.cli.arguments import Command, record_of, store_of, tell


def add(command: Command, in_store: Command) -> None:
    """The commands that look at models."""
    in_store("who", _who, "print the address of a model", "lamda who news --store store")
    show = in_store("show", _show, "show term, types and tensors", "lamda show news --store store")
    show.add_argument("--svg", metavar="FILE", help="draw the model to an SVG file as well")
    diff = in_store("diff", _diff, "tell what changed", "lamda diff news 1a2b3c4d --store store")
    diff.add_argument("other", metavar="OTHER", help="the ref or address to compare with")
    diff.add_argument("--json", action="store_true", help="write JSON")
    in_store("log", _log, "list a version and all before it", "lamda log news --store store")


def _who(chosen: argparse.Namespace) -> None:
    print(record_of(chosen)["address"])


def _show(chosen: argparse.Namespace) -> None:
    from lamda import types
    from lamda.table import tabulate

    record = record_of(chosen)
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

        drawing = store_of(chosen).get(chosen.ref).draw()
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
    found = store_of(chosen).diff(chosen.ref, chosen.other)
    tell(chosen, found.to_json(), [str(found)])


def _log(chosen: argparse.Namespace) -> None:
    for version in store_of(chosen).log(chosen.ref):
        print(f"{version.who}  +{version.added:,} bytes  {version.name}")
