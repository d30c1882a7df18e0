"""The layout: where things are in a store, and the file that says that a directory is one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lamda import errors
from lamda.store import pointer
from lamda.store.checked import DIGEST, parsed
from lamda.store.files import LOCAL, write_file

FILE = "oci-layout"
TEXT = '{"imageLayoutVersion":"1.0.0"}'
NOTES = "versions"
REMOTES = f"{LOCAL}/remotes"
"""What is remembered of remotes."""
PARTIAL = f"{REMOTES}/partial"
"""What has come of blobs that are not whole."""
FOLDERS = {LOCAL, "blobs", "refs", NOTES, "quarantine", "signatures"}
PARTS = FOLDERS | {"index.json", "trusted.log"}


def require(root: Path) -> None:
    """Raises StoreError where something other than a store is there, or a newer one."""
    try:
        text = pointer.text(root / FILE)
    except FileNotFoundError:
        return _require_empty(root)
    except NotADirectoryError:
        raise errors.StoreError(errors.FOREIGN.format(path=root, name=root.name)) from None
    if _version(text) != "1.0.0":
        told = {"path": root / FILE, "text": text[:200], "wanted": TEXT}
        raise errors.StoreError(errors.BAD_LAYOUT.format(**told))


def write(root: Path) -> None:
    """Say that this is a store."""
    if not (root / FILE).exists():
        write_file(root / FILE, TEXT.encode())


def notes(root: Path) -> Iterator[Path]:
    """The notes of versions: ``versions/<address>/<manifest>``. No link is followed."""
    for folder in _named(root / NOTES):
        if folder.is_dir(follow_symlinks=False):
            yield from (Path(note) for note in _named(Path(folder)))


def _named(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder under the name of a digest, in order."""
    with contextlib.suppress(OSError):  # there is none, or it was collected just now
        with os.scandir(folder) as found:
            named = [each for each in found if DIGEST.fullmatch(f"sha256:{each.name}")]
        return sorted(named, key=lambda each: each.name)
    return []


def require_own(root: Path) -> None:
    """Raises StoreError where a folder of a store is a link: what is there is not its own."""
    for folder in (*sorted(FOLDERS), "blobs/sha256"):
        if (root / folder).is_symlink():
            raise errors.StoreError(errors.BLOB_LINK.format(path=root / folder))


def _version(text: str) -> str | None:
    try:
        return parsed(text.encode())["imageLayoutVersion"]
    except (ValueError, TypeError, KeyError):
        return None


def _require_empty(root: Path) -> None:
    """A store that was not finished when the power was cut is one."""
    names = sorted(p.name for p in root.iterdir()) if root.exists() else []
    other = [n for n in names if n not in PARTS and not n.endswith(".tmp")]
    if other:
        raise errors.StoreError(errors.FOREIGN.format(path=root, name=other[0]))
