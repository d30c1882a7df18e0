"""Attestation: the signatures of a version go with it; those of several people come together."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamda import errors
from lamda.store import checked, signatures
from lamda.store.remote import Attested, Remote, arrival
from lamda.store.remote.pieces import Pieces

if TYPE_CHECKING:
    from lamda.store.store import Store

LARGEST = 1 << 20
"""Bytes of an envelope."""
MOST = 256
"""Envelopes of a version that are fetched."""


def send(store: "Store", remote: Remote, version: str, partial: Path) -> None:
    """Send the signatures of a version, together with those that are there already."""
    if store.signatures.manifest(version) is None or not isinstance(remote, Attested):
        return
    there = fetch(store, remote, version, partial)
    if there is None and remote.attested(version) is not None:
        text = errors.OTHER_SIGNATURES.format(url=remote.url, version=version)
        raise errors.StoreError(text)
    manifest = store.signatures.manifest(version)
    if manifest is None or manifest == there:
        return
    blobs = {d: n for d, n in store.signatures.closure(version).items() if d != manifest}
    known = remote.sizes(blobs)
    for digest, size in blobs.items():
        if digest not in known:
            remote.put(digest, size, Pieces(store.blobs.map(digest)))
    remote.attest(version, store.blobs.get(manifest))


def fetch(store: "Store", remote: Remote, version: str, partial: Path) -> str | None:
    """Take the signatures of a version that are there; their manifest. Raises StoreError.

    What another tool keeps there, as ``cosign attest`` does, is none of ours: ``None``. Whether any
    of ours is to be trusted is for :meth:`Store.signed` to say.
    """
    data = remote.attested(version) if isinstance(remote, Attested) else None
    if data is None:
        return None
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    try:
        manifest = checked.parsed(data)
        if signatures.SIGNS not in (manifest.get("annotations") or {}):
            return None
        blobs = _blobs(manifest, version)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise arrival.wrong(remote, f"the signatures of {version} are none") from None
    for each, size in blobs.items():
        if not store.blobs.has(each):
            arrival.blob(remote, store.blobs, partial, each, size, lambda _: None)
    store.blobs.put([data], digest)
    store.signatures.admit(version, digest)
    return digest


def _blobs(manifest: Any, version: str) -> dict[str, int]:
    """The blobs of a manifest of signatures. Raises ValueError where it is none."""
    named = [manifest["config"], *manifest["layers"]]
    sizes = {each["digest"]: each["size"] for each in named}
    kinds = {each["mediaType"] for each in manifest["layers"]}
    fits = all(
        isinstance(d, str) and checked.DIGEST.fullmatch(d) and type(n) is int and 0 <= n <= LARGEST
        for d, n in sizes.items()
    )
    if manifest["annotations"][signatures.SIGNS] != version or not fits or len(sizes) > MOST:
        raise ValueError(version)
    if kinds - {signatures.ENVELOPE}:
        raise ValueError(kinds)
    return sizes
