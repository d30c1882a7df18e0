"""Mending: what is derived from refs and blobs is made again where it is wrong."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lamda import errors
from lamda.store import layout
from lamda.store.census import Census

if TYPE_CHECKING:
    from lamda.store.store import Store


def mend(store: "Store", census: Census) -> list[str]:
    """Make ``versions/`` and ``index.json`` again where they are wrong; what was made.

    Nothing is written, and no lock is taken, where all is right: a disk may be read-only.
    """
    mended: list[str] = []
    try:
        mended += _notes(store, census)
        if store.derive():
            mended.append("index.json")
    except OSError as error:
        census.problems.append(errors.NOT_WRITTEN.format(path=store.path, error=error))
    return mended


def _notes(store: "Store", census: Census) -> Iterator[str]:
    lost = [
        (manifest, address)
        for manifest, address in census.versions.items()
        if address and not (store.path / layout.NOTES / address[7:] / manifest[7:]).exists()
    ]
    if not lost and not census.misnoted:
        return
    with store.writing():
        for note in census.misnoted:
            (store.path / layout.NOTES / note).unlink(missing_ok=True)
            yield f"{layout.NOTES}/{note}"
        for manifest, address in lost:
            if store.blobs.has(manifest):
                store.admit(manifest, address)
                yield f"{layout.NOTES}/{address[7:]}/{manifest[7:]}"
