"""Layouts that other tools wrote: an OCI image layout whose ``index.json`` says what it names.

Nothing of it is believed: it is read as a remote is, each blob hashed, each address computed again.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamda import errors
from lamda.store import media
from lamda.store.blobs import Blobs
from lamda.store.refs import is_name
from lamda.store.remote import transfer
from lamda.store.signatures import tag

if TYPE_CHECKING:
    from lamda.store.store import Store

LARGEST = 4 << 20
"""Bytes of a manifest."""
_SIGNATURES = re.compile(r"sha256-[0-9a-f]{64}\.att")


def adopt(store: "Store", path: str | Path, show: bool = True) -> dict[str, str]:
    """Bring in every version that the index of a layout names; the address of each ref.

    The layout may be the store's own directory, which another tool wrote to. What comes with no
    version before it in the layout needs that here. Signatures come with their versions. Raises
    StoreError for what is no model or is damaged, SuccessionError where a ref is elsewhere here;
    what came before that stays. MissingError where it is no layout or names nothing.
    """
    layout = Layout(Path(path), store.blobs)
    refs = layout.refs()
    if not refs:
        raise errors.MissingError(errors.NO_LAYOUT_REFS.format(path=path))
    return {ref: transfer.pull(store, layout.at(ref), ref, show).address for ref in refs}


def require(path: str | Path) -> None:
    """Raises MissingError for what is no layout."""
    if not (Path(path) / "index.json").is_file():
        raise errors.MissingError(errors.NO_LAYOUT.format(path=path))


class Layout:
    """A directory as a remote that is only read."""

    def __init__(self, path: Path, blobs: Blobs, name: str | None = None) -> None:
        self.url = str(path)
        self.name = name
        self._path = path
        self._blobs = blobs
        require(path)

    def at(self, name: str) -> "Layout":
        """The layout, where one of its refs is meant."""
        return Layout(self._path, self._blobs, name)

    def refs(self) -> dict[str, str]:
        """Every ref of the index with its manifest; signatures are none. Raises StoreError."""
        return {ref: d for ref, d in self._named().items() if not _SIGNATURES.fullmatch(ref)}

    def attested(self, manifest: str) -> bytes | None:
        """The manifest of the signatures of a version; not yet verified."""
        digest = self._named().get(tag(manifest))
        return None if digest is None else self.manifest(digest)

    def _named(self) -> dict[str, str]:
        """Every name of the index with its manifest."""
        path = self._path / "index.json"
        try:
            entries = json.loads(path.read_bytes())["manifests"]
            told = [(e.get("annotations", {}).get(media.REF_NAME), e["digest"]) for e in entries]
            return {ref: str(digest) for ref, digest in told if ref is not None and is_name(ref)}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            text = errors.BAD_INDEX.format(path=path, error=error)
            raise errors.StoreError(text) from error

    def ref(self, name: str) -> str | None:
        """The manifest that a ref of the index names."""
        return self.refs().get(name)

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Those of these blobs that are there, with their sizes."""
        found = {digest: self._file(digest) for digest in digests}
        return {digest: path.stat().st_size for digest, path in found.items() if path.is_file()}

    def get(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob, not yet verified. Raises MissingError."""
        try:
            with open(self._file(digest), "rb") as file:
                file.seek(offset)
                while data := file.read(1 << 20):
                    yield data
        except FileNotFoundError:
            text = errors.NO_BLOB.format(digest=digest, path=self.url)
            raise errors.MissingError(text) from None

    def manifest(self, name: str) -> bytes | None:
        """The bytes of a manifest of the layout; or of one that is here, where it has it not."""
        digest = name if name.startswith("sha256:") else self.refs().get(name)
        if digest is None:
            return None
        if size := self.sizes([digest]).get(digest):
            if size > LARGEST:
                text = errors.TOO_LONG.format(path=self._file(digest), size=size)
                raise errors.StoreError(text)
            data = b"".join(self.get(digest))
            self._blobs.check(digest, data)
            return data
        return self._blobs.get(digest) if self._blobs.has(digest) else None

    def _file(self, digest: str) -> Path:
        return self._path / "blobs" / "sha256" / self._blobs.path(digest).name

    # --- what it is not for ---

    def kept(self, manifest: str, address: str) -> bool:
        """Never: nothing is sent here."""
        return False

    def put(self, digest: str, size: int, chunks: Any) -> None:
        """Raises SpecError."""
        raise errors.SpecError(errors.ONLY_IMPORT.format(path=self.url))

    def attest(self, manifest: str, data: bytes) -> None:
        """Raises SpecError."""
        raise errors.SpecError(errors.ONLY_IMPORT.format(path=self.url))

    def commit(self, manifest: str, data: bytes, address: str) -> None:
        """Raises SpecError."""
        raise errors.SpecError(errors.ONLY_IMPORT.format(path=self.url))

    def move(self, name: str, new: str, expected: str | None) -> None:
        """Raises SpecError."""
        raise errors.SpecError(errors.ONLY_IMPORT.format(path=self.url))
