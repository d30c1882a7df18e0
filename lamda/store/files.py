"""Files that survive a power cut: written beside their place, flushed, and renamed into it."""

import contextlib
import fcntl
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from lamda import errors

AHEAD = 16 << 20
"""Bytes after which the disk begins to write them."""
LOCAL = ".local"
"""What is of one machine: locks, and what was verified there. A copy of a store needs neither."""


class replacing:
    """A file that takes its place in one step when the block ends, or leaves no trace.

    Nothing is kept where the block fails, or leaves ``target`` as ``None``. The name survives a
    power cut after :func:`sync_directory`.
    """

    def __init__(self, temporary: Path, target: Path | None = None) -> None:
        self.temporary = temporary
        self.target = target

    def __enter__(self) -> "replacing":
        descriptor = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._file = os.fdopen(descriptor, "wb", buffering=1 << 18)  # larger writes pass it by
        self._written = self._begun = 0
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Write on; the disk begins with what has gathered, so that the flush has less to do."""
        self._file.write(data)
        self._written += len(data)
        if self._written - self._begun >= AHEAD:
            self._file.flush()
            _begin(self._file.fileno(), self._begun, self._written - self._begun)
            self._begun = self._written

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and self.target is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self.temporary, self.target)
        finally:
            with contextlib.suppress(OSError):  # what is left in the buffer is not wanted
                self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self.temporary.unlink()


def _begin(descriptor: int, start: int, size: int) -> None:
    """Have the kernel begin to write a part of a file, without waiting; where it can be told."""
    if sys.platform == "linux":
        # Advice about pages that are not yet on the disk is taken as a wish to have them there.
        os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def temporary(directory: Path) -> Path:
    """A name for a file that is being written."""
    return directory / f".{secrets.token_hex(8)}.tmp"


def write_file(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Replace a file in one durable step."""
    make_directory(path.parent)
    with replacing(temporary(path.parent), path) as file:
        for chunk in (data,) if isinstance(data, bytes) else data:
            file.write(chunk)
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, so that they survive a power cut."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Flush a directory: what was renamed in it stays renamed."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_links(path: str, flags: int) -> int:
    """An opener that does not write through a link, which may lead out of the store."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


@contextlib.contextmanager
def locked(root: Path, name: str, alone: bool = True) -> Iterator[None]:
    """Hold a lock of a store: alone, or with others that do not want it alone."""
    path = root / LOCAL / name
    path.parent.mkdir(exist_ok=True)
    with open(path, "a", opener=no_links) as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def written(root: Path) -> Iterator[None]:
    """What a disk refuses in the block is told in our words. Raises DiskError."""
    try:
        yield
    except (errors.LamdaError, ConnectionError):  # of a remote, and no word about a disk
        raise
    except OSError as error:
        new = errors.DiskError(errors.NOT_WRITTEN.format(path=root, error=error))
        new.errno = error.errno
        raise new from error
