"""Commands that look at models: who, show, diff, log."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

from lamda.cli import data
from lamda.cli.arguments import Command, is_bundle, record_of, store_of, tell


def add(command: Command, in_store: Command) -> None:
    """The commands that look at models."""
    in_store(
        "who", _who, "print the address of a model", "lamda who news --store store", bundled=True
    )
    show = in_store(
        "show",
        _show,
        "show term, types and tensors",
        "lamda show news --store store",
        bundled=True,
    )
    show.add_argument("--svg", metavar="FILE", help="draw the model to an SVG file as well")
    show.set_defaults(refuse=show.error)
    diff = in_store("diff", _diff, "tell what changed", "lamda diff news 1a2b3c4d --store store")
    diff.add_argument("other", metavar="OTHER", help="the ref or address to compare with")
    in_store("log", _log, "list a version and all before it", "lamda log news --store store")


def _who(chosen: argparse.Namespace) -> None:
    who = record_of(chosen)["address"]
    tell(chosen, {"who": who}, [who])


def _show(chosen: argparse.Namespace) -> None:
    from lamda import types
    from lamda.table import tabulate

    if chosen.svg and is_bundle(chosen):
        return chosen.refuse("--svg draws what is in a store, and REF is a bundle")
    record = record_of(chosen)
    if "shards" in record:
        if chosen.svg:
            return chosen.refuse("--svg draws a model, and REF is a data set")
        return data.show(chosen)
    said = {
        "name": record["name"],
        "who": record["address"],
        "pred": _address(record["pred"]),
        "input": types.show(types.from_json(record["input"])),
        "output": types.show(types.from_json(record["output"])),
    }
    lines = [record["name"]]
    lines += [f"  {k:<7} {said[k] or 'none: the first version'}" for k in [*said][1:]]
    if "slots" in record:
        rows = _rows(record)
        said["tensors"] = [row._asdict() | {"type": types.show(row.type)} for row in rows]
        lines.append(textwrap.indent(tabulate(rows), "  "))
    if chosen.svg:
        said["svg"] = chosen.svg
        lines.append(f"  drawn   {chosen.svg}")
        _draw(chosen)
    tell(chosen, said, lines)


def _draw(chosen: argparse.Namespace) -> None:
    from lamda.store.files import write_file

    drawing = store_of(chosen).get(chosen.ref).draw()
    write_file(Path(chosen.svg).absolute(), drawing.encode())


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
    versions = store_of(chosen).log(chosen.ref)
    lines = [f"{v.who}  +{v.added:,} bytes  {v.name}" for v in versions]
    tell(chosen, [v._asdict() for v in versions], lines)
