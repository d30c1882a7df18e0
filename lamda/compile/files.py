"""The files of a bundle: named by their digests, gathered first, and then written once.

So everything is known of a bundle, its size above all, before a byte of it is on the disk.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lamda.store.files import make_directory, sync_directory, write_file
from serve.runtime import digests

File = dict[str, Any]
Chunk = bytes | memoryview


class Files:
    """The files that a bundle is to have."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.added = 0
        """Bytes that :meth:`write` had to write."""
        self._wanted: dict[Path, _Wanted] = {}

    def add(self, folder: str, chunks: Sequence[Chunk], suffix: str = "") -> File:
        """The FILE of these bytes."""
        sha, size = hashlib.sha256(), 0
        for chunk in chunks:
            sha.update(chunk)
            size += len(chunk)
        return self._want(folder, f"sha256:{sha.hexdigest()}", suffix, size, chunks)

    def copy(self, folder: str, source: Path, suffix: str = "") -> File:
        """The FILE of a copy of a file."""
        digest = digests.digest(str(source.resolve()))
        return self._want(folder, digest, suffix, source.stat().st_size, source)

    @property
    def size(self) -> int:
        """The bytes of all files, were they in a directory of their own."""
        return sum(wanted.size for wanted in self._wanted.values())

    def write(self) -> None:
        """Write what is not there yet, each file in one durable step."""
        for path, wanted in self._wanted.items():
            if whole(path, wanted.digest):
                continue
            if isinstance(wanted.content, Path):
                _copy(wanted.content, path)
            else:
                write_file(path, wanted.content)
            self.added += wanted.size

    def _want(
        self, folder: str, digest: str, suffix: str, size: int, content: "Sequence[Chunk] | Path"
    ) -> File:
        name = f"{digest.removeprefix('sha256:')}{suffix}"
        self._wanted[self.root / folder / name] = _Wanted(digest, size, content)
        return {"path": f"{folder}/{name}", "digest": digest, "size": size}


class _Wanted(NamedTuple):
    digest: str
    size: int
    content: Sequence[Chunk] | Path


def whole(path: Path, digest: str) -> bool:
    """Whether a file is there and undamaged; it is not read where that is known."""
    return path.exists() and digests.digest(str(path.resolve())) == digest


def _copy(source: Path, path: Path) -> None:
    """A second name for a file on the same file system; a copy elsewhere."""
    make_directory(path.parent)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        try:
            os.link(source.resolve(), draft)
        except OSError:
            shutil.copyfile(source, draft)
            with open(draft, "rb") as file:
                os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)
