"""The index: ``index.json``, derived from refs and signatures for tools that read OCI layouts."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lamda import errors
from lamda.store import media
from lamda.store.files import write_file

if TYPE_CHECKING:
    from lamda.store.catalogue import Catalogue

FILE = "index.json"


def derive(store: "Catalogue", refs: Mapping[str, str]) -> None:
    """Write the index of these refs, where another is there."""
    if stale(store, refs):
        write_file(store.path / FILE, media.canonical(_index(store, refs)))


def stale(store: "Catalogue", refs: Mapping[str, str]) -> bool:
    """Whether the index is not that of these refs. None is needed where nothing is named."""
    path, index = store.path / FILE, _index(store, refs)
    if not path.is_file():
        return bool(index["manifests"])
    data = media.canonical(index)
    return path.stat().st_size != len(data) or path.read_bytes() != data


def _index(store: "Catalogue", refs: Mapping[str, str]) -> dict[str, Any]:
    manifests = [*_refs(store, refs), *store.signatures.index()]
    return {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": manifests}


def _refs(store: "Catalogue", refs: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for ref, digest in sorted(refs.items()):
        with contextlib.suppress(errors.LamdaError):  # ``verify`` tells what is wrong
            address = store.manifest(digest)["annotations"][media.ADDRESS]
            size = store.blobs.stat(digest).st_size
            named = {media.REF_NAME: ref, media.ADDRESS: address}
            entry = media.descriptor(media.MANIFEST, digest, size, **named)
            yield entry | {"artifactType": media.MODEL}
