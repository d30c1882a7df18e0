"""A store whose truth is elsewhere: objects under a URL, and a directory here for what came.

The refs are those of the remote, moved there by compare-and-swap; blobs are fetched when they are
needed, and sent before anything names them. The directory here may be deleted at any time.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lamda import errors
from lamda.model import Model
from lamda.store.blobs import Blobs
from lamda.store.files import LOCAL
from lamda.store.refs import Refs
from lamda.store.remote import attestation
from lamda.store.remote.objects import LONGEST, Objects
from lamda.store.remote.pieces import Pieces
from lamda.store.store import Store
from lamda.store.trust import Verify
from lamda.store.verify import Progress, Report

TRIES = 5
"""How often a blob is asked for, from where it broke off, while nothing more comes."""


class Mirror(Store):
    """``Store("s3://bucket/prefix")``: as a store in a directory, with what was used kept here.

    ``put`` sends the blobs that are missing there, then the manifest, then moves the ref; ``get``
    fetches what is missing here, each blob verified. ``cache`` is the directory here; by default
    one for each URL, below ``$LAMDA_CACHE`` or ``~/.cache/lamda``.

    Raises what a store raises, and ConnectionError where the remote does not answer.
    """

    def __init__(
        self, path: str | Path, verify: str = "recorded", cache: str | Path | None = None
    ) -> None:
        self.remote = Objects(str(path))
        super().__init__(cache or _cache(self.remote.url), verify)
        self.blobs: Blobs = _Blobs(self.path, Verify(verify), self.remote)
        self._refs: Refs = _Refs(self.path, self.remote)

    def admit(self, manifest: str, address: str) -> str:
        """Make a version whose blobs are all here one of the remote's: it can be found there."""
        super().admit(manifest, address)
        wanted = self._sizes(manifest)
        there = self.remote.sizes(wanted)
        missing = [digest for digest, size in wanted.items() if there.get(digest) != size]
        self.remote.each(lambda d: self._send(d, wanted[d]), missing)
        self.remote.commit(manifest, self.blobs.get(manifest), address)
        return manifest

    def _send(self, digest: str, size: int) -> None:
        self.remote.put(digest, size, Pieces(self.blobs.map(digest)))

    def versions(self) -> dict[str, list[str]]:
        """The manifests of every address (without ``sha256:``), in the order they came."""
        return self.remote.versions()

    def _kept(self, model: Model, source: bool) -> str | None:
        digest = super()._kept(model, source)
        if digest is None or not self.remote.kept(digest, model.address):
            return None
        return digest

    def _get(self, digest: str, trust_source: bool) -> Model:
        self._bring(digest)
        return super()._get(digest, trust_source)

    def _bring(self, digest: str) -> None:
        """Fetch what a version needs and is not here."""
        self.manifest(digest)  # which is fetched, and says what else there is
        address = self.config(digest)["address"]
        if not self._version(address, digest).exists():
            super().admit(digest, address)
        missing = {d: n for d, n in self._sizes(digest).items() if not self.blobs.has(d)}
        self.remote.each(lambda d: self.blobs.admit(d, missing[d]), [*missing])

    # --- what is said of what is there ---

    def verify(
        self,
        share: float = 1.0,
        seed: int | None = None,
        deep: bool = False,
        progress: Progress = None,
    ) -> Report:
        """As :meth:`Store.verify`, of all that is there: it is fetched, as far as it is right."""
        for digest in [m for manifests in self.versions().values() for m in manifests]:
            with contextlib.suppress(errors.StoreError, errors.MissingError):
                self._bring(digest)
        return super().verify(share, seed, deep, progress)

    def sign(self, ref: str, key: str | Path) -> str:
        """As :meth:`Store.sign`; the signature is sent."""
        version = self.find(ref)
        attestation.fetch(self, self.remote, version, self._partial)
        keyid = super().sign(ref, key)
        attestation.send(self, self.remote, version, self._partial)
        return keyid

    def signed(self, ref: str, trusted: Any) -> dict[str, Any]:
        """As :meth:`Store.signed`, by the signatures that are there."""
        attestation.fetch(self, self.remote, self.find(ref), self._partial)
        return super().signed(ref, trusted)

    @property
    def _partial(self) -> Path:
        return self.path / LOCAL / "partial"


class _Blobs(Blobs):
    """Blobs that are fetched where they are not here."""

    def __init__(self, root: Path, verify: Verify, remote: Objects) -> None:
        super().__init__(root, verify)
        self._remote = remote

    def map(self, digest: str) -> memoryview:
        if not self.has(digest):
            self._fetch(digest, LONGEST)
        return super().map(digest)

    def admit(self, digest: str, size: int) -> None:
        if not self.has(digest):
            self._fetch(digest, size)
        super().admit(digest, size)

    def _fetch(self, digest: str, most: int) -> None:
        self.put(self._arriving(digest, most), digest)

    def _arriving(self, digest: str, most: int) -> Iterator[bytes]:
        """The bytes of a blob; where the connection breaks they go on from there."""
        came, tries = 0, 0
        while True:
            try:
                for chunk in self._remote.get(digest, came):
                    came, tries = came + len(chunk), 0
                    if came > most:
                        path = f"{self._remote.url}/{digest}"
                        raise errors.StoreError(errors.TOO_LONG.format(path=path, size=came))
                    yield chunk
                return
            except ConnectionError:
                tries += 1
                if tries == TRIES:
                    raise


class _Refs(Refs):
    """Refs that are elsewhere."""

    def __init__(self, root: Path, remote: Objects) -> None:
        super().__init__(root, lambda _: None)
        self._remote = remote

    def all(self) -> dict[str, str]:
        return self._remote.refs()

    def names(self) -> list[str]:
        return self._remote.names()

    def get(self, name: str) -> str | None:
        return self._remote.ref(name)

    def move(self, name: str, new: str | None, allowed: Callable[[str | None], None]) -> None:
        head = self.get(name)
        allowed(head)
        if new is None:
            self._remote.remove(name)
        elif new != head:
            self.require_place(name)
            self._remote.move(name, new, head)


def _cache(url: str) -> Path:
    """The directory here for a URL."""
    home = os.environ.get("LAMDA_CACHE") or Path.home() / ".cache" / "lamda"
    return Path(home) / hashlib.sha256(url.encode()).hexdigest()[:16]
