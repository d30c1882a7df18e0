"""A store whose truth is elsewhere: objects under a URL, and a directory here for what came.

The refs are those of the remote, moved there by compare-and-swap; blobs are fetched when they are
needed, and sent before anything names them. The directory here may be deleted at any time.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from lamda import errors
from lamda.model import Model
from lamda.store.collect import GRACE
from lamda.store.files import LOCAL
from lamda.store.refs import Refs
from lamda.store.remote import attestation, contents, inspection
from lamda.store.remote.cache import Cache
from lamda.store.remote.objects import Objects
from lamda.store.remote.pieces import Pieces
from lamda.store.remote.progress import Progress as Bar
from lamda.store.store import Store
from lamda.store.trust import Verify
from lamda.store.usage import Usage
from lamda.store.verify import Progress, Report


class Mirror(Store):
    """``Store("s3://bucket/prefix")``: as a store in a directory, with what was used kept here.

    ``put`` sends the blobs that are missing there, then the manifest, then moves the ref; ``get``
    fetches what is missing here, each blob verified. ``cache`` is the directory here; by default
    one for each URL, below ``$LAMDA_CACHE`` or ``~/.cache/lamda``. With ``show``, what takes long
    has a bar with bytes and rate, where stderr is a terminal.

    Raises what a store raises, and ConnectionError where the remote does not answer.
    """

    def __init__(
        self,
        path: str | Path,
        verify: str = "recorded",
        cache: str | Path | None = None,
        show: bool = True,
    ) -> None:
        self.remote = Objects(str(path))
        super().__init__(cache or _directory(self.remote.url), verify)
        self.blobs: Cache = Cache(self.path, Verify(verify), self.remote)
        self.show = show
        self._refs: Refs = _Refs(self.path, self.remote)

    def admit(self, manifest: str, address: str) -> str:
        """Make a version whose blobs are all here one of the remote's: it can be found there."""
        wanted = self.sizes(manifest)
        there = self.remote.sizes(wanted)
        missing = {digest: size for digest, size in wanted.items() if there.get(digest) != size}
        with Bar(f"send {manifest[7:19]}", sum(missing.values()), self.show) as bar:

            def send(digest: str) -> None:
                pieces = Pieces(self.blobs.map(digest), bar.tell)
                self.remote.put(digest, missing[digest], pieces)

            self.remote.bucket.each(send, [*missing])
        self.remote.commit(manifest, self.blobs.get(manifest), address)
        return super().admit(manifest, address)  # last: what is noted here is there

    def versions(self) -> dict[str, list[str]]:
        """The manifests of every address (without ``sha256:``), in the order they came."""
        return self.remote.versions()

    def _kept(self, model: Model, source: bool) -> str | None:
        digest = super()._kept(model, source)
        if digest is None or not self.remote.kept(digest, model.address):
            return None
        return digest

    def _stands(self, manifest: str) -> bool:
        return self.remote.kept(manifest, self.config(manifest)["address"])

    def _get(self, digest: str, trust_source: bool) -> Model:
        self.bring(digest)
        return super()._get(digest, trust_source)

    def bring(self, digest: str) -> None:
        """Fetch what a version needs and is not here. Raises MissingError, StoreError."""
        self.manifest(digest)  # which is fetched, and says what else there is
        address = self.config(digest)["address"]
        if not self._version(address, digest).exists():
            super().admit(digest, address)
        missing = {d: n for d, n in self.sizes(digest).items() if not self.blobs.has(d)}
        with Bar(f"fetch {digest[7:19]}", sum(missing.values()), self.show) as bar:
            self.remote.bucket.each(lambda d: self.blobs.bring(d, missing[d], bar.tell), [*missing])

    # --- what is said of what is there ---

    def verify(
        self,
        share: float = 1.0,
        seed: int | None = None,
        deep: bool = False,
        progress: Progress = None,
    ) -> Report:
        """As :meth:`Store.verify`, of all that is there: it is read, and kept nowhere.

        What is damaged or missing there and right here is sent again. ``deep`` fetches all.
        """
        return inspection.verify(self, share, seed, deep, progress)

    def du(self) -> Usage:
        """As :meth:`Store.du`, of what is there."""
        return contents.usage(self)

    def gc(self, grace: float = GRACE, dry: bool = False) -> NoReturn:
        """Nothing is collected where nobody can wait for other writers. Raises SpecError."""
        raise errors.SpecError(errors.REMOTE_GC.format(url=self.remote.url, cache=self.path))

    def sign(self, ref: str, key: str | Path) -> str:
        """As :meth:`Store.sign`; the signature is sent."""
        version = self.find(ref)
        attestation.fetch(self, self.remote, version, self.partial)
        keyid = super().sign(ref, key)
        attestation.send(self, self.remote, version, self.partial)
        return keyid

    def signed(self, ref: str, trusted: Any) -> dict[str, Any]:
        """As :meth:`Store.signed`, by the signatures that are there."""
        attestation.fetch(self, self.remote, self.find(ref), self.partial)
        return super().signed(ref, trusted)

    @property
    def partial(self) -> Path:
        """The directory for what has come of signatures that are not whole."""
        return self.path / LOCAL / "partial"


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


def _directory(url: str) -> Path:
    """The directory here for a URL."""
    home = os.environ.get("LAMDA_CACHE") or Path.home() / ".cache" / "lamda"
    return Path(home) / hashlib.sha256(url.encode()).hexdigest()[:16]
