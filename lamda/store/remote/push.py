"""Push: a version and those before it go to a remote, as far as they are not there."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lamda import errors
from lamda.store.lineage import ancestors
from lamda.store.remote import Remote, attestation
from lamda.store.remote.moved import Count, Moved, answering, blobs, partial
from lamda.store.remote.pieces import Pieces
from lamda.store.remote.progress import Progress

if TYPE_CHECKING:
    from lamda.store.store import Store

_THREADS = 8


def push(
    store: "Store", remote: Remote, ref: str, depth: int | None = None, show: bool = True
) -> Moved:
    """Send the version of a ref, and those before it, as far as they are not there.

    ``depth`` is how many versions are sent at most. The ref there then names the version, if it
    named none or one before it. Raises SuccessionError, SpecError, MissingError, StoreError,
    RemoteError.
    """
    if depth is not None and depth < 1:
        raise errors.SpecError(errors.BAD_DEPTH.format(given=depth))
    new = store.find(ref)
    with store.writing(), answering(remote):
        name = remote.name or ref
        if name.startswith("sha256:") or (remote.name is None and store.head(ref) is None):
            raise errors.SpecError(errors.PUSH_NAME.format(ref=ref, url=remote.url))
        chain = [*ancestors(store, new)]
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
    new = _absent(store, remote, chain[::-1])
    wanted = {d: n for m in new for d, n in blobs(store.manifest(m)).items()}
    there = remote.sizes(wanted)
    missing = {d: n for d, n in wanted.items() if there.get(d) != n}
    count = Count()
    count.skipped = len(wanted) - len(missing)
    with Progress(f"push {ref}", sum(missing.values()), show) as progress:
        for manifest in new:
            for digest, size in blobs(store.manifest(manifest)).items():
                if missing.pop(digest, None) is not None:
                    store.blobs.admit(digest, size)  # what is damaged here is not sent
                    remote.put(digest, size, Pieces(store.blobs.map(digest), progress.tell))
                    count.blobs += 1
            data = store.blobs.get(manifest)
            remote.commit(manifest, data, store.config(manifest)["address"])
            count.versions += 1
            count.bytes += len(data)
        for manifest in chain:
            attestation.send(store, remote, manifest, partial(store))
    return count.moved(remote.url, ref, address, progress)


def _absent(store: "Store", remote: Remote, chain: list[str]) -> list[str]:
    """The versions that are not there. Several are asked for at a time."""
    addresses = [store.config(manifest)["address"] for manifest in chain]
    with ThreadPoolExecutor(_THREADS) as pool:
        kept = pool.map(remote.kept, chain, addresses)
        return [manifest for manifest, there in zip(chain, kept, strict=True) if not there]
