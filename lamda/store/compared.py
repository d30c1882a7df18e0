"""Two versions compared by their records: no tensor is read but those that changed."""

from typing import TYPE_CHECKING, Any

from lamda import errors
from lamda.diff import Difference, diff
from lamda.model import Model
from lamda.store import media, reading

if TYPE_CHECKING:
    from lamda.store.store import Store


def compare(store: "Store", a: str, b: str) -> Difference:
    """What changed from ``a`` to ``b``, which are refs, addresses or manifests."""
    versions = store.find(a), store.find(b)
    for ref, version in zip((a, b), versions, strict=True):
        if store.kind(version) == media.DATA:
            raise errors.SpecError(errors.NO_DIFF.format(ref=ref))
    old, new = (_blobs(store.config(version)) for version in versions)
    changed = {
        blob
        for one, other in ((old, new), (new, old))
        for digest, blob in one.items()
        if digest not in other
    }
    for version in versions:
        for layer in store.manifest(version)["layers"]:
            if layer["digest"] in changed:
                store.blobs.admit(layer["digest"], layer["size"])
    return diff(*(_opened(store, version) for version in versions))


def _blobs(record: dict[str, Any]) -> dict[str, str]:
    """The blob of every tensor, by its digest."""
    return {t["digest"]: t["blob"] for slot in record["slots"] for t in slot["tensors"]}


def _opened(store: "Store", version: str) -> Model:
    """A version as its record tells it: no blob of it is opened before it is used."""
    return reading.read(store.config(version), store.blobs, _no_pred)


def _no_pred() -> None:
    return None
