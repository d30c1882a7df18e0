"""Commands that read and write the files of other tools: import, export."""

import argparse

from lamda.cli.arguments import STORE, Command, pair_of, store_of, tell


def add(command: Command, in_store: Command) -> None:
    """The commands that read and write the files of other tools."""
    brought = command(
        "import",
        _import,
        "put weights of another tool into a model, or bring in an OCI layout that another tool "
        "wrote (without --into)",
        "lamda import model.safetensors --into news --rename encoder=body --store store",
    )
    brought.set_defaults(refuse=brought.error)
    brought.add_argument("path", metavar="PATH", help="safetensors, msgpack, Orbax; or a layout")
    brought.add_argument("--into", metavar="REF", help="the version that they are a successor of")
    brought.add_argument("--ref", metavar="REF", help="the name of it (default: that of --into)")
    brought.add_argument(
        "--rename", type=pair_of, action="append", default=[], metavar="THEIRS=OURS",
        help="a name, or the beginning of names; may be given again",
    )  # fmt: skip
    brought.add_argument("--loose", action="store_true", help="take what fits, and leave the rest")
    brought.add_argument("--store", default=STORE, metavar="DIR", help=f"default: {STORE}")
    brought.add_argument("--json", action="store_true", help="write JSON")
    out = in_store(
        "export", _export, "write the weights of a version as .safetensors, .msgpack or .orbax",
        "lamda export news news.safetensors --store store",
    )  # fmt: skip
    out.add_argument("path", metavar="PATH", help="what to write")


def _import(chosen: argparse.Namespace) -> None:
    if chosen.into is None:
        if chosen.ref is not None or chosen.rename or chosen.loose:
            return chosen.refuse("--ref, --rename and --loose are for weights: give --into REF")
        return _adopt(chosen)
    who = store_of(chosen).import_weights(
        chosen.path,
        chosen.into,
        ref=chosen.ref,
        rename=dict(chosen.rename),
        strict=not chosen.loose,
    )
    tell(chosen, {"who": who}, [who])


def _adopt(chosen: argparse.Namespace) -> None:
    """Bring in a layout, into a store that is made where it is not, as by a pull."""
    from lamda.store import Store
    from lamda.store.exchange import layout

    layout.require(chosen.path)
    found = Store(chosen.store).import_layout(chosen.path)
    tell(chosen, found, [f"{ref}  {address}" for ref, address in found.items()])


def _export(chosen: argparse.Namespace) -> None:
    count = store_of(chosen).export(chosen.ref, chosen.path)
    tell(chosen, {"path": chosen.path, "tensors": count}, [f"{chosen.path}: {count} tensors"])
