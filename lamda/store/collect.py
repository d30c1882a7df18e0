"""Collecting: what no ref needs is taken, after a time of grace.

Roots are the refs, and versions that were put not long ago; what they need is theirs, the versions
before them, and the blobs of all these. The signatures and the notes of other versions go first,
durably, and the blobs after: a collector that is killed in between leaves blobs that nothing names,
and no version, and no signature, that lacks one.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lamda import errors
from lamda.store import layout
from lamda.store.checked import DIGEST
from lamda.store.files import locked, sync_directory, written
from lamda.store.lineage import together

if TYPE_CHECKING:
    from lamda.store.store import Store

GRACE = 14 * 24 * 3600.0
"""Seconds."""
UNFINISHED = ("blobs/sha256", "refs", layout.NOTES, "quarantine", "signatures")
"""Where files are written, beside the store itself."""


class Collected(NamedTuple):
    """What was taken, or with ``dry`` would be."""

    versions: int
    blobs: int
    bytes: int


def collect(store: "Store", grace: float = GRACE, dry: bool = False) -> Collected:
    """``store.gc(grace, dry)``, see :meth:`lamda.store.Store.gc`."""
    if not grace >= 0:
        raise errors.SpecError(errors.BAD_GRACE.format(given=grace))
    with written(store.path), _alone(store):
        layout.require_own(store.path)
        since = time.time() - grace
        manifests, blobs = _needed(store, since)
        noted = [p for p in layout.notes(store.path) if f"sha256:{p.name}" not in manifests]
        old = [p for p in _blobs(store) if f"sha256:{p.name}" not in blobs and _before(p, since)]
        taken = Collected(len(noted), len(old), sum(p.lstat().st_size for p in old))
        if not dry:
            store.signatures.drop(v for v in store.signatures.versions() if v not in manifests)
            _remove_notes(store.path, noted)
            _remove([*old, *_unfinished(store.path, since)])
    if not dry:
        store.derive()  # which lists signatures
    return taken


@contextlib.contextmanager
def _alone(store: "Store") -> Iterator[None]:
    """While nobody writes, and no ref moves."""
    with store.writing(alone=True), locked(store.path, "refs.lock"):
        yield


def _needed(store: "Store", since: float) -> tuple[set[str], set[str]]:
    """The manifests and the blobs that are needed. Raises where one of these can not be read."""
    young = (f"sha256:{p.name}" for p in layout.notes(store.path) if not _before(p, since))
    needs = {m: store.closure(m) for m in together(store, (*store.heads().values(), *young))}
    return {*needs}, {digest for sizes in needs.values() for digest in sizes}


def _before(path: Path, since: float) -> bool:
    """Whether a file was written, or its version put again, before a time."""
    found = path.lstat()
    return max(found.st_mtime, found.st_atime if not found.st_size else 0) < since


def _blobs(store: "Store") -> list[Path]:
    """Files, and links, under the name of a digest."""
    found = (p for p in store.blobs.directory.iterdir() if DIGEST.fullmatch(f"sha256:{p.name}"))
    return [p for p in found if p.is_symlink() or not p.is_dir()]


def _unfinished(root: Path, since: float) -> Iterator[Path]:
    """Files that a writer left behind when it was killed."""
    for folder in (root, *(root / name for name in UNFINISHED)):
        deep = folder.name in ("refs", layout.NOTES)
        for path in folder.rglob(".*.tmp") if deep else folder.glob(".*.tmp"):
            if path.is_file() and _before(path, since):
                yield path
    for path in (root / layout.PARTIAL).glob("*"):  # of a pull that was given up
        if path.is_file() and _before(path, since):
            yield path


def _remove_notes(root: Path, noted: Iterable[Path]) -> None:
    """Remove notes of versions, so that they stay removed."""
    folders = {path.parent for path in noted}
    _remove(noted)
    for folder in folders:
        sync_directory(folder)
        with contextlib.suppress(OSError):  # other versions of the address stay
            folder.rmdir()
    if folders:
        sync_directory(root / layout.NOTES)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
