"""Remotes: other places that keep versions, and how they go there and come back.

A remote is written as a URL, ``oci://host[:port]/repository[:tag]`` for any OCI registry,
``s3://bucket/prefix[#ref]`` and the like for an object store.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from lamda import errors
from lamda.store.remote.pieces import Pieces as Pieces

OBJECTS = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https", "file", "memory")
"""Schemes of object stores; ``http`` and ``https`` are only read."""


class Remote(Protocol):
    """What versions are sent to, and come from."""

    @property
    def url(self) -> str:
        """How people write it, without a name."""
        ...

    @property
    def name(self) -> str | None:
        """The name (a ref, or the digest of a manifest) that stood in the URL."""
        ...

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Those of these blobs that are there, with their sizes."""
        ...

    def get(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from an offset on; what comes is not yet verified.

        Raises MissingError, StoreError; ConnectionError where more would come if it is asked again.
        """
        ...

    def put(self, digest: str, size: int, chunks: Pieces) -> None:
        """Send a blob; ``chunks.after(offset)`` begins anywhere."""
        ...

    def manifest(self, name: str) -> bytes | None:
        """The bytes of the manifest of a ref or a digest; not yet verified."""
        ...

    def kept(self, manifest: str, address: str) -> bool:
        """Whether a version is there, whole."""
        ...

    def commit(self, manifest: str, data: bytes, address: str) -> None:
        """Send the manifest of a version, whose blobs are there, and keep it for good."""
        ...

    def ref(self, name: str) -> str | None:
        """The digest of the manifest that a ref names there."""
        ...

    def refs(self) -> dict[str, str]:
        """Every ref there with the digest of its manifest."""
        ...

    def move(self, name: str, new: str, expected: str | None) -> None:
        """A ref names another manifest, from where it is thought to be.

        Raises SuccessionError where it is elsewhere.
        """
        ...


@runtime_checkable
class Attested(Protocol):
    """A remote that keeps signatures beside versions."""

    def attest(self, manifest: str, data: bytes) -> None:
        """Send the manifest of the signatures of a version, whose blobs are there."""
        ...

    def attested(self, manifest: str) -> bytes | None:
        """The manifest of the signatures of a version; not yet verified."""
        ...


def open_remote(url: str, local: Path) -> Remote:
    """The remote of a URL; the directory ``local`` is for what it has to remember.

    Raises SpecError.
    """
    scheme = url.partition("://")[0]
    if scheme == "oci":
        from lamda.store.remote.oci import Registry

        return Registry.open(url, local)
    if scheme in OBJECTS:
        from lamda.store.remote.objects import Objects

        return Objects(url)
    raise errors.SpecError(errors.BAD_REMOTE.format(url=url))
