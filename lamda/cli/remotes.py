"""Commands that send and fetch versions: push, pull."""

import argparse
from collections.abc import Callable
from typing import Any

from lamda.cli.arguments import STORE, Command, count, quiet, store_of, tell

_URL = (
    "a registry, oci://host/repository[:tag]; or an object store, s3://bucket/prefix[#ref], "
    "gs://, az://, file://, or to pull https://"
)


def add(command: Command, in_store: Command) -> None:
    """The commands that send and fetch versions."""

    def to(name: str, run: Callable[..., Any], help: str, example: str, *first: str) -> Any:
        made = command(name, run, help, example)
        for each in first:
            made.add_argument(each.lower(), metavar=each)
        made.add_argument("url", metavar="URL", help=_URL)
        made.add_argument(
            "--store", default=STORE, metavar="DIR", help=f"or the URL of one (default: {STORE})"
        )
        made.add_argument("--json", action="store_true", help="write JSON")
        return made

    push = to(
        "push", _push, "send the version of a ref, and those before it, as far as missing there",
        "lamda push news oci://ghcr.io/team/news --store store", "REF",
    )  # fmt: skip
    push.add_argument(
        "--depth", type=count, metavar="N", help="send at most N versions (default: all)"
    )
    pull = to(
        "pull", _pull, "fetch a version, and those before it, as far as missing here",
        "lamda pull oci://ghcr.io/team/news:news --store store",
    )  # fmt: skip
    pull.add_argument("--ref", metavar="REF", help="its name here (default: that of the URL)")


def _push(chosen: argparse.Namespace) -> None:
    from lamda.store.remote import transfer

    store = quiet(chosen, store_of(chosen))
    remote = transfer.opened(store, chosen.url)
    _moved(chosen, transfer.push(store, remote, chosen.ref, chosen.depth, not chosen.json))


def _pull(chosen: argparse.Namespace) -> None:
    from lamda.store import Store
    from lamda.store.remote import transfer

    transfer.require(chosen.url)  # before a store is made
    store = quiet(chosen, Store(chosen.store))
    remote = transfer.opened(store, chosen.url)
    _moved(chosen, transfer.pull(store, remote, chosen.ref, not chosen.json))


def _moved(chosen: argparse.Namespace, moved: Any) -> None:
    """What a push or a pull did."""
    what = f"{moved.versions:,} versions, {moved.blobs:,} blobs, {moved.bytes:,} bytes"
    text = f"{moved.ref or moved.address}: {what}; {moved.skipped:,} blobs were there already"
    tell(chosen, moved._asdict(), [text])
