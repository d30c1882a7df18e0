"""Pull: a version and those before it come from a remote, as far as they are not here.

Nothing that comes is believed: blobs are hashed, addresses computed again, and only then is a
version noted, the oldest first, and a ref moved.
"""

import shutil
from typing import TYPE_CHECKING, Any

from lamda import errors
from lamda.store import checked, media
from lamda.store.files import locked, written
from lamda.store.meaning import recomputed
from lamda.store.refs import is_name
from lamda.store.remote import Remote, arrival, attestation
from lamda.store.remote.moved import Count, Moved, answering, blobs, partial
from lamda.store.remote.progress import Progress

if TYPE_CHECKING:
    from lamda.store.store import Store


def pull(store: "Store", remote: Remote, ref: str | None = None, show: bool = True) -> Moved:
    """Fetch the version that a remote's URL names, and those before it, as far as missing.

    ``ref`` then names it here, if it named none or one before it; by default the ref that the URL
    names. Raises SuccessionError, SpecError, MissingError, StoreError, RemoteError, and DiskError
    where it does not fit: then the ref stays where it was.
    """
    with written(store.path), answering(remote):
        name = remote.name or ref
        if name is None:
            raise errors.SpecError(errors.PULL_NAME.format(url=remote.url))
        ref = ref or (None if name.startswith("sha256:") else name)
        if ref is not None and not is_name(ref):
            raise errors.SpecError(errors.BAD_REF.format(ref=ref))
        with store.writing(), locked(store.path, "pull.lock"):
            return _Pull(store, remote, show).run(name, ref)


class _Pull:
    """One pull. What is of this machine holds the parts of blobs that have come."""

    def __init__(self, store: "Store", remote: Remote, show: bool) -> None:
        self._store = store
        self._remote = remote
        self._show = show
        self._partial = partial(store)
        self._count = Count()

    def run(self, name: str, ref: str | None) -> Moved:
        """Fetch, check, and name. The manifests come newest first, the rest oldest first."""
        head, new = self._manifests(name)
        wanted = {d: n for _, _, manifest in new for d, n in blobs(manifest).items()}
        missing = {d: n for d, n in wanted.items() if not self._store.blobs.has(d)}
        self._count.skipped += len(wanted) - len(missing)
        self._require_room(sum(missing.values()))
        with Progress(f"pull {name}", sum(missing.values()), self._show) as progress:
            for digest, data, manifest in reversed(new):
                for each, size in blobs(manifest).items():
                    self._fetch(each, size, progress)
                self._admit(digest, data, manifest)
                attestation.fetch(self._store, self._remote, digest, self._partial)
        if not new:
            attestation.fetch(self._store, self._remote, head, self._partial)
        if ref is not None:
            self._store.advance(ref, head)
        address = self._store.config(head)["address"]
        return self._count.moved(self._remote.url, ref, address, progress)

    def _require_room(self, size: int) -> None:
        """Raises DiskError where what is said to come does not fit; nothing of it is fetched."""
        free = shutil.disk_usage(self._store.path).free
        if size > free:
            path = self._store.path
            raise errors.DiskError(errors.NO_ROOM.format(path=path, size=size, free=free))

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
            before = self._before(manifest)
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
        return noted.exists() and all(map(store.blobs.has, (digest, *blobs(manifest))))

    def _before(self, manifest: dict[str, Any]) -> str | None:
        """The version before, by the record, which is fetched where it is not here."""
        config = media.record(manifest)
        with Progress("record", 0, False) as progress:
            self._fetch(config["digest"], config["size"], progress)
        self._count.bytes += progress.done
        data = self._store.blobs.get(config["digest"])
        pred = checked.config(config["digest"], data, manifest)["pred"]
        return None if pred is None else pred["manifest"]

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
