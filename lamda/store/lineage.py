"""Lineage: a version and those before it, and refs that move along it alone."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lamda import errors
from lamda.store.refs import Refs

if TYPE_CHECKING:
    from lamda.store.store import Store


def ancestors(store: "Store", manifest: str) -> Iterator[str]:
    """The manifests of a version and of those before it, newest first."""
    at: str | None = manifest
    while at is not None:
        yield at
        at = store.before(at)


def advance(store: "Store", refs: Refs, ref: str, new: str) -> None:
    """A ref names ``new``, if it named nothing or a version before it.

    Where it names one after it already, it stays. Raises SuccessionError.
    """
    head = refs.get(ref)
    if head is not None and new in ancestors(store, head):
        return

    def require(head: str | None) -> None:
        if head is not None and head not in ancestors(store, new):
            named = {"ref": ref, "head": store.config(head)["address"]}
            address = store.config(new)["address"]
            raise errors.SuccessionError(errors.NOT_AFTER.format(new=address, **named))

    refs.move(ref, new, require)
