"""Blobs: files named by the SHA-256 of their bytes, written once and for good.

A blob is written to a temporary file, flushed to the disk, and renamed into place; a commit then
flushes the directory, so that after a power cut every version that was acknowledged is whole.
"""

import contextlib
import hashlib
import mmap
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from lamda import errors


class Blobs:
    """The directory ``blobs/sha256`` of a store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / "blobs" / "sha256"

    def path(self, digest: str) -> Path:
        """The file of a blob."""
        return self.directory / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self.path(digest).exists()

    def put(self, chunks: Iterable[bytes | memoryview], digest: str | None = None) -> str:
        """Keep these bytes; their digest. Nothing is written where the blob is here already."""
        if digest is not None and self.has(digest):
            return digest
        sha = hashlib.sha256()
        with replacing(self.directory / f".{secrets.token_hex(8)}.tmp") as file:
            for chunk in chunks:
                sha.update(chunk)
                file.write(chunk)
            digest = f"sha256:{sha.hexdigest()}"
            file.target = None if self.has(digest) else self.path(digest)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of a small blob, verified. Raises MissingError, StoreError."""
        data = bytes(self.map(digest))
        self.check(digest, data)
        return data

    def map(self, digest: str) -> memoryview:
        """The bytes of a blob as a read-only memory map; nothing is read until it is used."""
        try:
            with open(self.path(digest), "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    return memoryview(b"")
                return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        except FileNotFoundError:
            text = errors.NO_BLOB.format(digest=digest, path=self.root)
            raise errors.MissingError(text) from None

    def check(self, digest: str, data: bytes | memoryview) -> None:
        """Raises StoreError where the bytes are not those of the digest."""
        found = hashlib.sha256(data).hexdigest()
        if f"sha256:{found}" != digest:
            why = f"its bytes have the digest sha256:{found}"
            text = errors.BAD_BLOB.format(digest=digest, path=self.root, why=why)
            raise errors.StoreError(text)

    def sync(self) -> None:
        """Make the names of all blobs written so far survive a power cut."""
        sync_directory(self.directory)


class replacing:
    """A file that takes its place in one step when the block ends, or leaves no trace.

    Nothing is kept where the block fails, or leaves ``target`` as ``None``.
    """

    def __init__(self, temporary: Path, target: Path | None = None) -> None:
        self.temporary = temporary
        self.target = target

    def __enter__(self) -> "replacing":
        descriptor = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._file = os.fdopen(descriptor, "wb", buffering=1 << 20)
        self.write = self._file.write
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and self.target is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self.temporary, self.target)
        finally:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self.temporary.unlink()


def sync_directory(directory: Path) -> None:
    """Flush a directory: what was renamed in it stays renamed."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory, and those above it, where they are not; their names survive a power cut."""
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in new:
        sync_directory(path.parent)


def write_file(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Replace a file in one durable step."""
    make_directory(path.parent)
    with replacing(path.parent / f".{secrets.token_hex(8)}.tmp", path) as file:
        for chunk in (data,) if isinstance(data, bytes) else data:
            file.write(chunk)
    sync_directory(path.parent)
