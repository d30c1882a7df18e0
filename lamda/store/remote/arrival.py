"""Arrival: what came from a remote is checked before anything is named by it.

A registry may be damaged, or hostile: its bytes must have the digest that was asked for, and the
version must be what its manifest says, down to the address.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lamda import errors
from lamda.store import checked, media, source
from lamda.store.blobs import Blobs
from lamda.store.files import make_directory
from lamda.store.remote import Remote

TRIES = 5
SLOWEST = 64 << 10
"""Bytes that must come by a try, so that it does not count."""
LARGEST_CONFIG = 64 << 20
_PIECE = 1 << 20
_PAUSE = 0.2
_LAYERS = (media.RECORD, media.WEIGHT, media.CODE, media.DATASET, source.MEDIA)


def manifest(remote: Remote, digest: str | None, data: bytes) -> tuple[str, dict[str, Any]]:
    """The digest of a manifest that came, and the manifest. Raises StoreError."""
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if digest is not None and found != digest:
        raise wrong(remote, f"the manifest {digest} that it sent has the digest {found}")
    try:
        why = _unfit(checked.parsed(data))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        why = "it is no JSON of a manifest"
    if why:
        text = errors.NOT_A_MODEL.format(url=remote.url, digest=found, why=why)
        raise errors.StoreError(text)
    return found, checked.manifest(found, data)


def _unfit(said: Any) -> str | None:
    """Why a manifest is not one of a model; ``None`` where it may be."""
    if said.get("mediaType", media.MANIFEST) == media.INDEX or "manifests" in said:
        return "it is an index of several manifests"
    if said.get("mediaType", media.MANIFEST) != media.MANIFEST:
        return f"its media type is {said['mediaType']!r:.100}"
    if said.get("artifactType") != media.MODEL or said["config"]["mediaType"] != media.CONFIG:
        return f"it is a {said.get('artifactType') or said['config']['mediaType']!r:.100}"
    other = [layer["mediaType"] for layer in said["layers"] if layer["mediaType"] not in _LAYERS]
    if other:
        return f"it has a layer of the media type {other[0]!r:.100}"
    large = [each["size"] for each in (said["config"], media.record(said))]
    if max(large) > LARGEST_CONFIG:
        return f"its config or its record has {max(large):,} bytes"
    return None


def blob(
    remote: Remote, blobs: Blobs, partial: Path, digest: str, size: int, tell: Callable[[int], None]
) -> None:
    """Fetch a blob, from where an earlier try stopped; it is kept where it is what was asked for.

    What comes is written to ``partial`` until it is whole. Raises StoreError, MissingError, and
    ConnectionError where it breaks off too often: what has come stays then.
    """
    make_directory(partial)
    path = partial / digest.removeprefix("sha256:")
    blobs.path(digest)  # which refuses what is no digest
    tries = 0
    while (came := _came(path, size)) < size or not path.exists():
        try:
            _more(remote, path, digest, size, came, tell)
        except ConnectionError:
            tries = 1 if _came(path, size) - came >= SLOWEST else tries + 1
            if tries == TRIES:
                raise
            time.sleep(_PAUSE * tries)
        except errors.LamdaError:
            if not _came(path, size):
                path.unlink(missing_ok=True)
            raise
    try:
        blobs.put(_pieces(path), digest)
    except errors.StoreError:
        why = f"the blob {digest} that it sent has another digest"
        raise wrong(remote, why) from None
    finally:
        path.unlink(missing_ok=True)


def _more(
    remote: Remote, path: Path, digest: str, size: int, came: int, tell: Callable[[int], None]
) -> None:
    """Write what comes from an offset on, until the size or the end."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o644), "ab") as file:
        for data in remote.get(digest, came):
            came += len(data)
            if came > size:
                break
            file.write(data)
            tell(len(data))
    if came != size:
        path.unlink(missing_ok=True)
        more = "more" if came > size else f"only {came:,}"
        raise wrong(remote, f"the blob {digest} should have {size:,} bytes, and it sent {more}")


def _came(path: Path, size: int) -> int:
    """Bytes of a blob that came before; what is too long is no part of it."""
    try:
        came = path.lstat().st_size
    except FileNotFoundError:
        return 0
    if came > size or path.is_symlink():
        path.unlink()
        return 0
    return came


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(_PIECE):
            yield data


def wrong(remote: Remote, why: str) -> errors.StoreError:
    """The error for what no remote should do; nothing of it is kept."""
    return errors.StoreError(errors.REMOTE_WRONG.format(url=remote.url, why=why))
