"""Blobs: files named by the SHA-256 of their bytes, written once and for good."""

import hashlib
import mmap
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from lamda import errors
from lamda.store.background import Background
from lamda.store.files import make_directory, replacing, sync_directory, temporary
from lamda.store.trust import Trust, Verify

PIECE = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Blobs:
    """The directory ``blobs/sha256`` of a store."""

    def __init__(self, root: Path, verify: Verify = Verify.RECORDED) -> None:
        self.root = root
        self.directory = root / "blobs" / "sha256"
        self.verify = verify
        self.quarantine = root / "quarantine"
        self.trust = Trust(root)
        self.background = Background(self.hash)
        make_directory(self.directory)

    def path(self, digest: str) -> Path:
        """The file of a blob. Raises StoreError for what is no digest."""
        if not _DIGEST.fullmatch(digest):
            raise errors.StoreError(errors.BAD_DIGEST.format(digest=digest))
        return self.directory / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        """Whether the blob is here: a file, and no link to one."""
        try:
            return stat.S_ISREG(self.path(digest).lstat().st_mode)
        except FileNotFoundError:
            return False

    def put(self, chunks: Iterable[bytes | memoryview], digest: str | None = None) -> str:
        """Keep these bytes; their digest. Nothing is written where the blob is here already.

        With ``digest`` they must have it. Raises StoreError where they have another.
        """
        if digest is None and isinstance(chunks, list):  # small: known before it is written
            chunks = [b"".join(chunks)]
            digest = f"sha256:{hashlib.sha256(chunks[0]).hexdigest()}"
        if digest is not None and self.has(digest):
            return digest
        sha = hashlib.sha256()
        with replacing(temporary(self.directory)) as file:
            for piece in _pieces(chunks):
                sha.update(piece)
                file.write(piece)
            found = f"sha256:{sha.hexdigest()}"
            if digest is not None and found != digest:
                raise errors.StoreError(errors.OTHER_BYTES.format(digest=digest, found=found))
            file.target = None if self.has(found) else self.path(found)
        if file.target is not None:  # what was here already nobody has hashed now
            self.background.forget(found)
            self.trust.record(found, self.path(found).stat())
        return found

    def get(self, digest: str) -> bytes:
        """The bytes of a small blob, hashed. Raises MissingError, StoreError."""
        data = bytes(self.map(digest))
        self.check(digest, data)
        return data

    def map(self, digest: str) -> memoryview:
        """The bytes of a blob as a read-only memory map; nothing is read until it is used."""
        self.background.require(digest)
        if self.stat(digest).st_size == 0:
            return memoryview(b"")
        try:
            with open(os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        except FileNotFoundError:
            raise self._missing(digest) from None

    def stat(self, digest: str) -> os.stat_result:
        """What the file system says of a blob. Raises MissingError, StoreError."""
        path = self.path(digest)
        try:
            found = path.lstat()
        except FileNotFoundError:
            raise self._missing(digest) from None
        if not stat.S_ISREG(found.st_mode):
            raise errors.StoreError(errors.BLOB_LINK.format(path=path))
        return found

    def admit(self, digest: str, size: int) -> None:
        """Make sure that a blob can be used: it is here, has its size, and is hashed or trusted.

        Raises MissingError, StoreError.
        """
        self.background.require(digest)
        found = self.stat(digest)
        if found.st_size != size:
            raise self._damaged(digest, f"it has {found.st_size:,} bytes, not {size:,}")
        if self.verify is Verify.NEVER:
            return
        if self.verify is Verify.ALWAYS or not self.trust.holds(digest, found):
            if self.verify is Verify.BACKGROUND:
                self.background.add(digest)
            else:
                self.hash(digest)

    def hash(self, digest: str) -> None:
        """Hash a blob, and remember that it is right. Raises MissingError, StoreError."""
        found = self.stat(digest)
        self.check(digest, self.map(digest))
        self.trust.record(digest, found)

    def check(self, digest: str, data: bytes | memoryview) -> None:
        """Raises StoreError where the bytes are not those of the digest."""
        found = hashlib.sha256(data).hexdigest()
        if f"sha256:{found}" != digest:
            raise self._damaged(digest, f"its bytes have the digest sha256:{found}")

    def _missing(self, digest: str) -> errors.MissingError:
        needed = self.quarantine / f"{digest[7:]}.needed"
        if needed.exists():
            names = ", ".join(needed.read_text(errors="replace").split()) or "none"
            text = errors.QUARANTINED.format(digest=digest, path=self.root, needed=names)
        else:
            text = errors.NO_BLOB.format(digest=digest, path=self.root)
        return errors.MissingError(text)

    def _damaged(self, digest: str, why: str) -> errors.StoreError:
        text = errors.BAD_BLOB.format(digest=digest, path=self.root, why=why)
        return errors.StoreError(text)

    def sync(self) -> None:
        """Make the names of all blobs written so far survive a power cut."""
        sync_directory(self.directory)
        self.trust.flush()


def _pieces(chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    """The bytes in pieces that stay in the cache of the processor between two uses."""
    for chunk in chunks:
        view = memoryview(chunk)
        yield from (view[at : at + PIECE] for at in range(0, len(view), PIECE))
