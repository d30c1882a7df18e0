"""Listing: what an object store says of itself: names, versions, and the index derived of them.

Plain HTTP lists nothing, so there the index is read, which otherwise is for other tools alone.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from lamda import errors
from lamda.store import media
from lamda.store.checked import DIGEST
from lamda.store.refs import is_name
from lamda.store.remote.bucket import Bucket

_NOTE = re.compile(r"versions/([0-9a-f]{64})/([0-9a-f]{64})")
INDEX = "index.json"


def names(bucket: Bucket) -> list[str]:
    """Every ref."""
    if not bucket.listed:
        return [name for name, _, _ in _indexed(bucket)]
    listed = (entry["path"].removeprefix("refs/") for entry in bucket.list("refs"))
    return sorted(filter(is_name, listed))


def versions(bucket: Bucket) -> dict[str, list[str]]:
    """The manifests of every address (without ``sha256:``), in the order they came."""
    found: dict[str, list[str]] = {}
    for address, manifest in _noted(bucket):
        found.setdefault(address, []).append(manifest)
    return found


def blobs(bucket: Bucket) -> dict[str, int]:
    """Every blob that is there with its size, whatever its name; none over plain HTTP."""
    listed = bucket.list("blobs/sha256") if bucket.listed else []
    return {f"sha256:{e['path'].rpartition('/')[2]}": e["size"] for e in listed}


def index(refs: dict[str, str], sizes: dict[str, int], addresses: dict[str, str]) -> bytes:
    """The index of these refs, for tools that read OCI layouts."""
    manifests = []
    for ref, digest in sorted(refs.items()):
        named = {media.REF_NAME: ref, media.ADDRESS: addresses.get(digest, "")}
        entry = media.descriptor(media.MANIFEST, digest, sizes.get(digest, 0), **named)
        manifests.append(entry | {"artifactType": media.MODEL})
    return media.canonical({"schemaVersion": 2, "mediaType": media.INDEX, "manifests": manifests})


def _noted(bucket: Bucket) -> Iterator[tuple[str, str]]:
    if not bucket.listed:
        for _, digest, address in _indexed(bucket):
            yield address[7:], digest
        return
    for entry in sorted(bucket.list("versions"), key=lambda e: (e["last_modified"], e["path"])):
        if match := _NOTE.fullmatch(entry["path"]):
            yield match[1], f"sha256:{match[2]}"


def _indexed(bucket: Bucket) -> list[tuple[str, str, str]]:
    """The name, manifest and address of every ref, as the index tells it. Raises StoreError."""
    try:
        entries = json.loads(bucket.read(INDEX) or b"{}").get("manifests", [])
        return [named for entry in entries if (named := _named(entry)) is not None]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        text = errors.BAD_INDEX.format(path=f"{bucket.url}/{INDEX}", error=error)
        raise errors.StoreError(text) from error


def _named(entry: Any) -> tuple[str, str, str] | None:
    """What an entry says of a version; others are of other tools, or of signatures."""
    told = entry.get("annotations") or {}
    name, digest, address = (
        str(told.get(media.REF_NAME)), str(entry["digest"]), str(told.get(media.ADDRESS))
    )  # fmt: skip
    fits = is_name(name) and DIGEST.fullmatch(digest) and DIGEST.fullmatch(address)
    return (name, digest, address) if fits else None
