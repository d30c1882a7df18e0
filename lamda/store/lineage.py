"""Lineage: a version and those before it, and refs that move along it alone."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from lamda import errors
from lamda.store.refs import Refs

if TYPE_CHECKING:
    from lamda.store.catalogue import Catalogue


class Version(NamedTuple):
    """A version as :meth:`Store.log` tells it."""

    who: str
    """Its address."""
    pred: str | None
    """The address of the version before."""
    name: str
    """Its term."""
    added: int
    """Bytes of the blobs that it has and its predecessor has not."""


def ancestors(store: "Catalogue", manifest: str) -> Iterator[str]:
    """The manifests of a version and of those before it, newest first."""
    at: str | None = manifest
    while at is not None:
        yield at
        at = store.before(at)


def together(store: "Catalogue", manifests: Iterable[str]) -> Iterator[str]:
    """The manifests of several versions and of all before them, each once."""
    seen: set[str] = set()
    for manifest in manifests:
        for at in ancestors(store, manifest):
            if at in seen:
                break
            seen.add(at)
            yield at


def log(store: "Catalogue", manifest: str) -> list[Version]:
    """``store.log``, see :meth:`lamda.store.Store.log`."""
    return [_told(store, each) for each in ancestors(store, manifest)]


def _told(store: "Catalogue", manifest: str) -> Version:
    record, before = store.config(manifest), store.before(manifest)
    old = {} if before is None else store.sizes(before)
    added = sum(n for digest, n in store.sizes(manifest).items() if digest not in old)
    pred = None if before is None else store.config(before)["address"]
    return Version(record["address"], pred, record["name"], added)


def advance(store: "Catalogue", refs: Refs, ref: str, new: str) -> None:
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
