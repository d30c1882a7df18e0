"""Collecting: what no ref needs is taken, after a time of grace.

Roots are the refs, and versions that were put not long ago; what they need is theirs, the versions
before them, and the blobs of all these. The notes of other versions go first, durably, and the
blobs after: a collector that is killed in between leaves blobs that nothing names, and no version
that lacks one.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lamda import errors
from lamda.store.checked import DIGEST
from lamda.store.files import locked, sync_directory, written

if TYPE_CHECKING:
    from lamda.store.store import Store

GRACE = 14 * 24 * 3600.0
"""Seconds."""


class Collected(NamedTuple):
    """What was taken, or with ``dry`` would be."""

    versions: int
    blobs: int
    bytes: int


def collect(store: "Store", grace: float = GRACE, dry: bool = False) -> Collected:
    """``store.gc(grace, dry)``, see :meth:`lamda.store.Store.gc`."""
    if not grace >= 0:
        raise errors.SpecError(errors.BAD_GRACE.format(given=grace))
    with written(store.path), store.writing(alone=True), locked(store.path, "refs.lock"):
        since = time.time_ns() - int(grace * 1e9)
        manifests, blobs = _needed(store, since)
        noted = [p for p in entries(store.path) if f"sha256:{p.name}" not in manifests]
        old = [p for p in _blobs(store) if f"sha256:{p.name}" not in blobs and _before(p, since)]
        taken = Collected(len(noted), len(old), sum(p.stat().st_size for p in old))
        if not dry:
            _remove_notes(store.path, noted)
            for version in {f"sha256:{path.name}" for path in noted}:
                store.signatures.drop(version)
            _remove([*old, *_unfinished(store.path, since)])
    return taken


def entries(root: Path) -> Iterator[Path]:
    """The notes of versions: ``versions/<address>/<manifest>``."""
    return (p for p in (root / "versions").glob("*/*") if DIGEST.fullmatch(f"sha256:{p.name}"))


def _needed(store: "Store", since: int) -> tuple[set[str], set[str]]:
    """The manifests and the blobs that are needed. Raises where one of these can not be read."""
    young = (f"sha256:{p.name}" for p in entries(store.path) if not _before(p, since))
    manifests: set[str] = set()
    blobs: set[str] = set()
    for root in (*store.heads().values(), *young):
        at: str | None = root
        while at is not None and at not in manifests:
            manifests.add(at)
            blobs |= store.closure(at).keys() | store.signatures.closure(at).keys()
            at = store.before(at)
    return manifests, blobs


def _before(path: Path, since: int) -> bool:
    """Whether a file was written, or its version put again, before a time."""
    found = path.lstat()
    return max(found.st_mtime_ns, found.st_atime_ns if not found.st_size else 0) < since


def _blobs(store: "Store") -> list[Path]:
    return [p for p in store.blobs.directory.iterdir() if DIGEST.fullmatch(f"sha256:{p.name}")]


def _unfinished(root: Path, since: int) -> Iterator[Path]:
    """Files that a writer left behind when it was killed."""
    for folder in (root, root / "blobs" / "sha256", root / "refs", root / "versions"):
        deep = folder.name in ("refs", "versions")
        for path in folder.rglob(".*.tmp") if deep else folder.glob(".*.tmp"):
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
        sync_directory(root / "versions")


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
