"""What a transfer has moved, what it remembers here, and what a broken connection means."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lamda import errors
from lamda.store import layout
from lamda.store.remote import Remote
from lamda.store.remote.progress import Progress

if TYPE_CHECKING:
    from lamda.store.store import Store


class Moved(NamedTuple):
    """What a push or a pull did."""

    url: str
    ref: str | None
    address: str
    versions: int
    """Versions that were not there."""
    blobs: int
    """Blobs that were not there, manifests not counted."""
    bytes: int
    """Bytes of blobs and manifests that went over the wire, those sent again counted again."""
    skipped: int
    """Blobs of those versions that were there already."""


class Count:
    """What a transfer has done so far."""

    def __init__(self) -> None:
        self.versions = self.blobs = self.bytes = self.skipped = 0

    def moved(self, url: str, ref: str | None, address: str, progress: Progress) -> Moved:
        """The whole of it."""
        total = self.bytes + progress.done
        return Moved(url, ref, address, self.versions, self.blobs, total, self.skipped)


def partial(store: "Store") -> Path:
    """The directory for what has come of blobs that are not whole."""
    return store.path / layout.PARTIAL


def blobs(manifest: dict[str, Any]) -> dict[str, int]:
    """The blobs of a version with their sizes, its config last."""
    sizes = {each["digest"]: each["size"] for each in manifest["layers"]}
    config = manifest["config"]
    sizes.pop(config["digest"], None)
    return {**sizes, config["digest"]: config["size"]}


@contextlib.contextmanager
def answering(remote: Remote) -> Iterator[None]:
    """What a broken connection means to people. Raises RemoteError."""
    try:
        yield
    except ConnectionError as error:
        raise errors.RemoteError(
            errors.REMOTE_SILENT.format(url=remote.url, error=error)
        ) from error
