"""Commands that care for a store: refs, rm, du, gc, verify."""

import argparse
from collections.abc import Callable
from typing import Any

from lamda.cli.arguments import STORE, Command, is_bundle, record_of, store_of, tell


def add(command: Command, in_store: Command) -> None:
    """The commands that care for a store."""

    def of_store(name: str, run: Callable[..., Any], help: str, example: str) -> Any:
        made = command(name, run, help, example)
        made.add_argument("--store", default=STORE, metavar="DIR", help=f"default: {STORE}")
        made.add_argument("--json", action="store_true", help="write JSON")
        return made

    of_store("refs", _refs, "list the refs with their addresses", "lamda refs --store store")
    remove = of_store("rm", _rm, "remove a ref, and nothing but it", "lamda rm news --store store")
    remove.add_argument("ref", metavar="REF", help="the name")
    of_store("du", _du, "tell what every version needs on the disk", "lamda du --store store")
    gc = of_store("gc", _gc, "take what no ref needs", "lamda gc --store store --grace 0 --dry-run")
    gc.add_argument(
        "--grace", type=float, default=14 * 24 * 3600.0, metavar="SECONDS",
        help="keep what was put since (default: 14 days)",
    )  # fmt: skip
    gc.add_argument("--dry-run", action="store_true", help="tell, and take nothing")
    verify = of_store(
        "verify",
        _verify,
        "hash every blob and check all that names them, or those of REF and who signed it; "
        "exit 1 where something is wrong",
        "lamda verify --store store --deep",
    )
    verify.add_argument(
        "--share", type=float, default=1.0, metavar="PART",
        help="hash a random part, such as 0.1 (default: all)",
    )  # fmt: skip
    verify.add_argument("--seed", type=int, metavar="N", help="choose the same part again")
    verify.add_argument(
        "ref", nargs="?", metavar="REF", help="this version or bundle alone (default: the store)"
    )
    verify.add_argument(
        "--key", action="append", default=[], metavar="PUB",
        help="this public key, or another that is given, must have signed REF",
    )  # fmt: skip
    verify.set_defaults(refuse=verify.error)
    verify.add_argument("--deep", action="store_true", help="recompute every address as well")


def _refs(chosen: argparse.Namespace) -> None:
    refs = store_of(chosen).refs()
    width = max(map(len, refs), default=0)
    tell(chosen, refs, [f"{ref:<{width}}  {who}" for ref, who in refs.items()] or ["no refs"])


def _rm(chosen: argparse.Namespace) -> None:
    store_of(chosen).remove(chosen.ref)
    tell(chosen, {"removed": chosen.ref}, [f"{chosen.ref} is no ref any more"])


def _du(chosen: argparse.Namespace) -> None:
    from lamda.store.usage import table

    found = store_of(chosen).du()
    value = found._asdict() | {"versions": [row._asdict() for row in found.versions]}
    tell(chosen, value, table(found))


def _gc(chosen: argparse.Namespace) -> None:
    found = store_of(chosen).gc(chosen.grace, chosen.dry_run)
    done = "would be taken" if chosen.dry_run else "taken"
    text = f"{found.versions:,} versions, {found.blobs:,} blobs, {found.bytes:,} bytes {done}"
    tell(chosen, found._asdict(), [text])


def _verify(chosen: argparse.Namespace) -> int:
    from lamda.store.verify import told

    if chosen.key and chosen.ref is None:
        return chosen.refuse("--key says who must have signed REF: give a REF")
    if chosen.ref is not None:
        if (chosen.share, chosen.seed, chosen.deep) != (1.0, None, False):
            return chosen.refuse("--share, --seed and --deep are for a whole store: leave out REF")
        return _verify_one(chosen)
    report = store_of(chosen).verify(chosen.share, chosen.seed, chosen.deep)
    tell(chosen, report._asdict() | {"clean": report.clean}, told(report))
    return 0 if report.clean else 1


def _verify_one(chosen: argparse.Namespace) -> int:
    """One version or bundle: its bytes, and who signed it where a key is given."""
    from lamda.compile import signing
    from lamda.store.signatures import vouched

    if is_bundle(chosen):
        found = signing.vouched(chosen.ref, chosen.key)
    else:
        found = vouched(store_of(chosen), chosen.ref, chosen.key)
    who = record_of(chosen)["address"]
    said = "signed and whole" if chosen.key else "whole"
    tell(chosen, {"ref": chosen.ref, "who": who, "statement": found}, [f"{who}  {said}"])
    return 0
