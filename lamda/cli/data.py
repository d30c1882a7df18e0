"""Commands on data sets: data add, data show."""

import argparse
from typing import Any

from lamda.cli.arguments import STORE, Command, quiet, store_of, tell


def add(command: Command, in_store: Command) -> None:
    """The commands on data sets."""
    data = command(
        "data", _none, "add rows to a data set, or tell what is in one",
        "lamda data add news/labelled rows.npz --store store",
    )  # fmt: skip
    data.set_defaults(refuse=data.error)
    kinds = data.add_subparsers(dest="what", required=True, metavar="add|show")

    def of_data(name: str, run: Any, help: str, example: str) -> Any:
        made = kinds.add_parser(
            name, help=help, description=help, epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(run=run)
        made.add_argument("ref", metavar="REF", help="a ref, or to show an address")
        made.add_argument(
            "--store", default=STORE, metavar="DIR", help=f"the store (default: {STORE})"
        )
        made.add_argument("--json", action="store_true", help="write JSON")
        return made

    adding = of_data(
        "add", _add, "add the rows of files to a data set, each as a shard; it is made where REF "
        "names nothing", "lamda data add news/labelled feedback/ --store store",
    )  # fmt: skip
    adding.add_argument(
        "files", nargs="+", metavar="FILE",
        help="a .npz or .safetensors file with the names inputs and targets, or names below them "
        "as inputs/ids; or a directory of feedback records",
    )  # fmt: skip
    of_data(
        "show", show, "tell the types, the rows and the shards of a data set",
        "lamda data show news/labelled --store store",
    )  # fmt: skip


def _none(chosen: argparse.Namespace) -> None:
    chosen.refuse("say add or show")


def _add(chosen: argparse.Namespace) -> None:
    from lamda.store import Store
    from lamda.store.exchange.rows import added

    data = before = _there(chosen)
    for file in chosen.files:
        data = added(data, file)
    assert data is not None  # a file that has no rows is refused
    who = data.address
    if data is not before:  # a store is made where all files are good
        quiet(chosen, Store(chosen.store)).put_data(data, chosen.ref)
    new = data.shards[0 if before is None else len(before.shards) :]
    rows, size = sum(shard.count for shard in new), sum(shard.nbytes for shard in new)
    said = {"ref": chosen.ref, "who": who, "added": rows, "bytes": size, "rows": len(data)}
    what = f"{_some(rows, 'row')}, {size:,} bytes in {_some(len(new), 'shard')}"
    what = what if new else "nothing new"
    tell(chosen, said, [f"{chosen.ref}: added {what}; {_some(len(data), 'row')}, {who}"])


def _there(chosen: argparse.Namespace) -> Any:
    """The data set of REF; ``None`` where there is none, or no store."""
    from lamda.errors import MissingError

    try:
        store = store_of(chosen)
    except MissingError:
        return None
    return None if store.head(chosen.ref) is None else store.data(chosen.ref)


def show(chosen: argparse.Namespace) -> None:
    """Tell what a data set is, by its record: no tensor is read."""
    from lamda import types
    from lamda.store import shards

    store = store_of(chosen)
    version = store.find(chosen.ref)
    store.require_kind(chosen.ref, version, "data")
    record = store.config(version)
    said = {
        "name": record["name"],
        "who": record["address"],
        "pred": record["pred"] and record["pred"]["address"],
        "rows": record["rows"],
        "input": types.show(types.from_json(record["input"])),
        "target": types.show(types.from_json(record["target"])),
        "shards": [_told(shards.nbytes(entry), entry) for entry in record["shards"]],
    }
    heads = ("who", "pred", "input", "target")
    lines = [f"{record['name']} in {_some(len(record['shards']), 'shard')}"]
    lines += [f"  {key:<7} {said[key] or 'none: the first version'}" for key in heads]
    lines += [_line(shard) for shard in said["shards"]]
    tell(chosen, said, lines)


def _told(size: int, entry: dict[str, Any]) -> dict[str, Any]:
    records = 0 if entry["records"] is None else entry["records"]["shape"][0]
    return {"who": entry["address"], "rows": entry["count"], "bytes": size, "records": records}


def _line(shard: dict[str, Any]) -> str:
    records = f"  of {_some(shard['records'], 'record')}" if shard["records"] else ""
    return f"  {shard['who'][7:19]}  {shard['rows']:>8,} rows  {shard['bytes']:>13,} bytes{records}"


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
