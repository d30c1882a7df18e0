"""Objects: a store under a prefix of a bucket, laid out as a directory is.

``s3://``, ``gs://``, ``az://``, ``http://`` and ``https://`` (read only), ``file://``, ``memory://``.
Keys and endpoints come from where the vendor's tools look: ``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME`` and so on.
"""

import contextlib
import hashlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from lamda import errors
from lamda.store.checked import DIGEST
from lamda.store.refs import is_name
from lamda.store.remote import listing
from lamda.store.remote.bucket import PART, Bucket
from lamda.store.remote.pieces import Pieces
from lamda.store.remote.swap import Swap


class Objects:
    """``Objects("s3://bucket/prefix#ref")``: a remote; ``options`` go to obstore.

    Raises SpecError for what is no URL of objects, or where obstore is not installed.

    >>> remote = Objects("memory://")
    >>> remote.move("m", "sha256:" + 64 * "0", expected=None)
    >>> list(remote.refs()), remote.many_writers
    (['m'], True)
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.url, _, name = url.partition("#")
        self.name = name or None
        self.bucket = Bucket(self.url, **options)
        self._swap = Swap(self.bucket.objects)

    @property
    def many_writers(self) -> bool:
        """Whether refs may be moved by several at a time: the server honours conditions.

        Found out once, with an object that is removed again. Where it is not so, two writers
        that move one ref at the same moment may both be told that they did.
        """
        return self.bucket.ask(lambda: self._swap.honoured)

    # --- blobs ---

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Those of these blobs that are there, with their sizes."""
        asked = [*digests]
        found = self.bucket.each(lambda digest: self.bucket.size(blob(digest)), asked)
        return {d: size for d, size in zip(asked, found, strict=True) if size is not None}

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self.bucket.size(blob(digest)) is not None

    def get(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from an offset on; what comes is not yet verified.

        Raises MissingError; ConnectionError where more would come if it is asked again.
        """
        return self.bucket.stream(blob(digest), offset)

    def put(self, digest: str, size: int, chunks: Iterable[bytes | memoryview]) -> None:
        """Send a blob; a large one in parts. What has not the digest is not kept there.

        Raises StoreError, ConnectionError.
        """
        pieces = _checked(digest, chunks)
        if size <= PART:
            self.bucket.write(blob(digest), b"".join(pieces))
        else:
            self.bucket.write_parts(blob(digest), pieces)

    # --- versions ---

    def manifest(self, name: str) -> bytes | None:
        """The bytes of the manifest of a ref or a digest. Raises StoreError for other bytes."""
        digest = name if DIGEST.fullmatch(name) else self.ref(name)
        data = None if digest is None else self.bucket.read(blob(digest))
        if data is not None and (found := _digest(data)) != digest:
            why = f"the manifest {digest} has the digest {found}"
            raise errors.StoreError(errors.REMOTE_WRONG.format(url=self.url, why=why))
        return data

    def kept(self, manifest: str, address: str) -> bool:
        """Whether a version is there, whole: it was sent after its blobs."""
        return self.bucket.size(note(manifest, address)) is not None and self.has(manifest)

    def commit(self, manifest: str, data: bytes, address: str) -> None:
        """Send a manifest whose blobs are there: the version can be found by its address."""
        self.put(manifest, len(data), [data])
        if self.bucket.size("oci-layout") is None:
            self.bucket.write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        self.bucket.write(note(manifest, address), b"")

    def versions(self) -> dict[str, list[str]]:
        """The manifests of every address (without ``sha256:``), in the order they came."""
        return listing.versions(self.bucket)

    def attest(self, manifest: str, data: bytes) -> None:
        """Send the manifest of the signatures of a version, whose blobs are there."""
        digest = _digest(data)
        self.put(digest, len(data), [data])
        self.bucket.write(f"signatures/{manifest[7:]}", digest.encode())

    def attested(self, manifest: str) -> bytes | None:
        """The manifest of the signatures of a version; not yet verified."""
        digest = self._digest(f"signatures/{manifest[7:]}")
        return None if digest is None else self.bucket.read(blob(digest))

    # --- refs ---

    def ref(self, name: str) -> str | None:
        """The digest of the manifest that a ref names there. Raises StoreError."""
        return self._digest(f"refs/{name}") if is_name(name) else None

    def names(self) -> list[str]:
        """Every ref there; over plain HTTP, which lists nothing, out of the index."""
        return listing.names(self.bucket)

    def refs(self) -> dict[str, str]:
        """Every ref there with the digest of its manifest."""
        names = self.names()
        found = zip(names, self.bucket.each(self.ref, names), strict=True)
        return {name: digest for name, digest in found if digest is not None}

    def move(self, name: str, new: str, expected: str | None) -> None:
        """A ref names another manifest, from where it is thought to be.

        Warns where the server does not compare: see :attr:`many_writers`. Raises SuccessionError
        where it is elsewhere, SpecError for what is no name or has no place beside the others.
        """
        self._require_place(name, expected)
        path = f"refs/{name}"
        old = None if expected is None else expected.encode()
        if not self.bucket.ask(lambda: self._swap(path, new.encode(), old)):
            told = {"ref": name, "url": self.url, "head": self.ref(name), "expected": expected}
            raise errors.SuccessionError(errors.REF_MOVED.format(**told))
        if not self.many_writers:
            warnings.warn(errors.ONE_WRITER.format(url=self.url), stacklevel=2)
        self._tell()

    def remove(self, name: str) -> None:
        """Remove the name of a version, and nothing else."""
        if self.ref(name) is not None:
            self.bucket.delete(f"refs/{name}")
            self._tell()

    def _require_place(self, name: str, expected: str | None) -> None:
        """As in a directory, no ref is a folder of others."""
        if not is_name(name):
            raise errors.SpecError(errors.BAD_REF.format(ref=name))
        self.bucket.require_writable()
        for other in self.names() if expected is None else ():
            if other.startswith(f"{name}/") or name.startswith(f"{other}/"):
                raise errors.SpecError(errors.REF_INSIDE.format(ref=name, other=other))

    def _digest(self, path: str) -> str | None:
        """What a ref, or a note of signatures, holds."""
        if (text := self.bucket.read(path)) is None:
            return None
        found = text[:200].decode(errors="replace").strip()
        if not DIGEST.fullmatch(found):
            named = {"path": f"{self.url}/{path}", "text": found[:80]}
            raise errors.StoreError(errors.BAD_REF_FILE.format(**named))
        return found

    # --- what is derived ---

    def _tell(self) -> None:
        """The ref is moved, and so it stays; what is derived from it can be derived again."""
        with contextlib.suppress(errors.LamdaError, ConnectionError):
            self.derive()

    def derive(self) -> bool:
        """Derive ``index.json`` from the refs that can be read; whether it was another."""
        refs: dict[str, str] = {}
        for name in self.names():
            with contextlib.suppress(errors.StoreError):
                refs |= {name: digest} if (digest := self.ref(name)) is not None else {}
        versions = self.versions().items()
        addresses = {m: f"sha256:{address}" for address, each in versions for m in each}
        new = listing.index(refs, self.sizes(dict.fromkeys(refs.values())), addresses)
        if self.bucket.read(listing.INDEX) == new:
            return False
        self.bucket.write(listing.INDEX, new)
        return True


def blob(digest: str) -> str:
    """The path of a blob. Raises StoreError for what is no digest."""
    if not DIGEST.fullmatch(digest):
        raise errors.StoreError(errors.BAD_DIGEST.format(digest=digest))
    return f"blobs/sha256/{digest[7:]}"


def note(manifest: str, address: str) -> str:
    """The path of the note of a version."""
    return f"versions/{address[7:]}/{manifest[7:]}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _checked(digest: str, chunks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The chunks; ends in an error, so that nothing is kept, where they have another digest."""
    sha = hashlib.sha256()
    for chunk in chunks:
        for piece in Pieces(memoryview(chunk)):
            sha.update(piece)
            yield piece
    found = f"sha256:{sha.hexdigest()}"
    if found != digest:
        raise errors.StoreError(errors.OTHER_BYTES.format(digest=digest, found=found))
