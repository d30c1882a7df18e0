"""Transfer: versions go to a remote and come from it, each blob once.

What is named is sent after what it names: blobs, config, manifest, and the versions before first.
So whoever reads a remote at any moment finds whole versions, and a transfer that was cut short
goes on where it stopped.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lamda import errors
from lamda.store import checked, media
from lamda.store.files import LOCAL, locked
from lamda.store.lineage import ancestors
from lamda.store.refs import is_name
from lamda.store.remote import Remote, arrival, attestation, open_remote
from lamda.store.remote.pieces import Pieces
from lamda.store.remote.progress import Progress
from lamda.store.verify import recomputed

if TYPE_CHECKING:
    from lamda.store.store import Store

PLACE = "remotes"
"""The directory, in what is of this machine, for what transfers have to remember."""


def opened(store: "Store", url: str) -> Remote:
    """The remote of a URL, for a store. Raises SpecError."""
    return open_remote(url, store.path / LOCAL / PLACE)


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


def _partial(store: "Store") -> Path:
    """The directory for what has come of blobs that are not whole."""
    return store.path / LOCAL / PLACE / "partial"


@contextlib.contextmanager
def _answering(remote: Remote) -> Iterator[None]:
    """What a broken connection means to people. Raises RemoteError."""
    try:
        yield
    except ConnectionError as error:
        raise errors.RemoteError(
            errors.REMOTE_SILENT.format(url=remote.url, error=error)
        ) from error


# --- push ---


def push(
    store: "Store", remote: Remote, ref: str, depth: int | None = None, show: bool = True
) -> Moved:
    """Send the version of a ref, and those before it, as far as they are not there.

    ``depth`` is how many versions are sent at most. The ref there then names the version, if it
    named none or one before it. Raises SuccessionError, SpecError, MissingError, StoreError.
    """
    new, name = store.find(ref), remote.name or ref
    if name.startswith("sha256:") or (remote.name is None and store.head(ref) is None):
        raise errors.SpecError(errors.PUSH_NAME.format(ref=ref, url=remote.url))
    if depth is not None and depth < 1:
        raise errors.SpecError(errors.BAD_DEPTH.format(given=depth))
    chain = [*ancestors(store, new)]
    with store.writing(), _answering(remote):
        head = remote.ref(name)
        if head is not None and head not in chain:
            named = {"url": remote.url, "ref": name, "head": head, "new": new}
            raise errors.SuccessionError(errors.REMOTE_ELSEWHERE.format(**named))
        moved = _send(store, remote, name, chain[:depth], show)
        if head != new:
            remote.move(name, new, head)
    return moved


def _send(store: "Store", remote: Remote, ref: str, chain: list[str], show: bool) -> Moved:
    address = store.config(chain[0])["address"]
    new = [m for m in reversed(chain) if not remote.kept(m, store.config(m)["address"])]
    wanted = {d: n for m in new for d, n in _blobs(store.manifest(m)).items()}
    there = remote.sizes(wanted)
    missing = {d: n for d, n in wanted.items() if there.get(d) != n}
    count = Count()
    count.skipped = len(wanted) - len(missing)
    with Progress(f"push {ref}", sum(missing.values()), show) as progress:
        for manifest in new:
            for digest, size in _blobs(store.manifest(manifest)).items():
                if missing.pop(digest, None) is not None:
                    store.blobs.admit(digest, size)  # what is damaged here is not sent
                    remote.put(digest, size, Pieces(store.blobs.map(digest), progress.tell))
                    count.blobs += 1
            data = store.blobs.get(manifest)
            remote.commit(manifest, data, store.config(manifest)["address"])
            count.versions += 1
            count.bytes += len(data)
        for manifest in chain:
            attestation.send(store, remote, manifest, _partial(store))
    return count.moved(remote.url, ref, address, progress)


def _blobs(manifest: dict[str, Any]) -> dict[str, int]:
    """The blobs of a version with their sizes, its config last."""
    sizes = {each["digest"]: each["size"] for each in manifest["layers"]}
    config = manifest["config"]
    sizes.pop(config["digest"], None)
    return {**sizes, config["digest"]: config["size"]}


# --- pull ---


def pull(store: "Store", remote: Remote, ref: str | None = None, show: bool = True) -> Moved:
    """Fetch the version that a remote's URL names, and those before it, as far as missing.

    ``ref`` then names it here, if it named none or one before it; by default the ref that the URL
    names. Raises SuccessionError, SpecError, MissingError, StoreError.
    """
    name = remote.name or ref
    if name is None:
        raise errors.SpecError(errors.PULL_NAME.format(url=remote.url))
    ref = ref or (None if name.startswith("sha256:") else name)
    if ref is not None and not is_name(ref):
        raise errors.SpecError(errors.BAD_REF.format(ref=ref))
    with store.writing(), locked(store.path, "pull.lock"), _answering(remote):
        return _Pull(store, remote, show).run(name, ref)


class _Pull:
    """One pull. What is of this machine holds the parts of blobs that have come."""

    def __init__(self, store: "Store", remote: Remote, show: bool) -> None:
        self._store = store
        self._remote = remote
        self._show = show
        self._partial = _partial(store)
        self._count = Count()

    def run(self, name: str, ref: str | None) -> Moved:
        """Fetch, check, and name. The manifests come newest first, the rest oldest first."""
        head, new = self._manifests(name)
        wanted = {d: n for _, _, manifest in new for d, n in _blobs(manifest).items()}
        missing = {d: n for d, n in wanted.items() if not self._store.blobs.has(d)}
        self._count.skipped += len(wanted) - len(missing)
        with Progress(f"pull {name}", sum(missing.values()), self._show) as progress:
            for digest, data, manifest in reversed(new):
                for each, size in _blobs(manifest).items():
                    self._fetch(each, size, progress)
                self._admit(digest, data, manifest)
                attestation.fetch(self._store, self._remote, digest, self._partial)
        if not new:
            attestation.fetch(self._store, self._remote, head, self._partial)
        if ref is not None:
            self._store.advance(ref, head)
        address = self._store.config(head)["address"]
        return self._count.moved(self._remote.url, ref, address, progress)

    def _manifests(self, name: str) -> tuple[str, list[tuple[str, bytes, dict[str, Any]]]]:
        """The manifest that is meant, and those that are not here, newest first."""
        data = self._remote.manifest(name)
        if data is None:
            text = errors.NO_REMOTE_REF.format(ref=name, url=self._remote.url)
            raise errors.MissingError(text)
        head, manifest = self._arrived(name if name.startswith("sha256:") else None, data)
        digest, new = head, []
        while not self._here(digest, manifest):
            new.append((digest, data, manifest))
            before = self._before(digest, manifest)
            if before is None:
                break
            data = self._remote.manifest(before)
            if data is None:
                named = {"url": self._remote.url, "digest": before, "count": len(new)}
                raise errors.MissingError(errors.REMOTE_CUT.format(**named))
            digest, manifest = self._arrived(before, data)
        return head, new

    def _arrived(self, digest: str | None, data: bytes) -> tuple[str, dict[str, Any]]:
        self._count.bytes += len(data)
        return arrival.manifest(self._remote, digest, data)

    def _here(self, digest: str, manifest: dict[str, Any]) -> bool:
        """Whether a version is here, and whole."""
        store, address = self._store, manifest["annotations"][media.ADDRESS]
        noted = store.path / "versions" / address[7:] / digest[7:]
        return noted.exists() and all(map(store.blobs.has, (digest, *_blobs(manifest))))

    def _before(self, digest: str, manifest: dict[str, Any]) -> str | None:
        """The version before, by the record, which is fetched where it is not here."""
        config = media.record(manifest)
        with Progress("record", 0, False) as progress:
            self._fetch(config["digest"], config["size"], progress)
        self._count.bytes += progress.done
        data = self._store.blobs.get(config["digest"])
        pred = checked.config(config["digest"], data, manifest)["pred"]
        said = manifest["annotations"].get(media.PRED)
        if said != (pred and pred["manifest"]):
            raise arrival.wrong(self._remote, f"{digest} names two versions before it")
        return said

    def _fetch(self, digest: str, size: int, progress: Progress) -> None:
        blobs = self._store.blobs
        if not blobs.has(digest):
            arrival.blob(self._remote, blobs, self._partial, digest, size, progress.tell)
            self._count.blobs += 1
        blobs.admit(digest, size)

    def _admit(self, digest: str, data: bytes, manifest: dict[str, Any]) -> None:
        """Keep a version whose blobs are here, if its address is what its tensors say."""
        store, address = self._store, manifest["annotations"][media.ADDRESS]
        config = media.record(manifest)["digest"]
        entry = checked.config(config, store.blobs.get(config), manifest)
        if (found := recomputed(entry, store)) != address:
            why = f"{digest} says that its address is {address}, and it is {found}"
            raise arrival.wrong(self._remote, why)
        store.blobs.put([data], digest)
        store.before(digest)  # which has to be what is said of it
        store.admit(digest, address)
        self._count.versions += 1
