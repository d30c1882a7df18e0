"""Packs: small tensors that share a blob.

A tensor of :data:`SMALL` bytes and more is a blob of its own, named by the digest of the tensor.
Smaller ones are packed, those that are trained apart from those that are not: ten thousand files
are slow to write, to open and to send. A pack is a safetensors file like any other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias, TypeVar

from lamda.store.blobs import Blobs
from lamda.tensor import ALIGNMENT, Tensor, describe, framed, header

SMALL = 256 << 10
PACK = 4 << 20
WRITERS = 4
"""Blobs that are written at once, on any number of cores: while some wait to be flushed to the
disk, others are hashed."""

A = TypeVar("A")
B = TypeVar("B")


class Place(NamedTuple):
    """Where the numbers of a tensor are."""

    blob: str
    """The digest of the blob."""
    offset: int
    """Bytes from its beginning."""

    def entry(self, path: str, tensor: Tensor) -> dict[str, Any]:
        """What a record says of a tensor that is here."""
        return {
            "path": path,
            "digest": tensor.digest,
            "dtype": tensor.type.dtype,
            "shape": list(tensor.type.shape),
            "blob": self.blob,
            "offset": self.offset,
        }


Entry: TypeAlias = tuple[str, Tensor]
"""The path of a tensor, which is its name in a pack, and the tensor."""


def ahead(tensors: Iterable[Tensor], blobs: Blobs) -> None:
    """Write the large ones of these tensors that are not here, several at a time.

    A tensor whose digest nobody has asked for yet is hashed while it is written, and so once.
    """

    def write(tensor: Tensor) -> None:
        tensor.remember(blobs.put(tensor.chunks(), tensor.digest if tensor.known else None))

    large = {id(t): t for t in tensors if t.nbytes >= SMALL}
    _together(write, [t for t in large.values() if not (t.known and blobs.has(t.digest))])


def keep(
    trained: Iterable[Entry], rest: Iterable[Entry], known: Mapping[str, Place], blobs: Blobs
) -> dict[str, Place]:
    """Put every tensor into a blob; where each is, by its digest.

    ``known`` are the places of the tensors of the version before: they are not written again.
    """
    places: dict[str, Place] = {}
    for entries in (trained, rest):
        new = {t.digest: (path, t) for path, t in reversed([*entries]) if t.digest not in places}
        small: list[Entry] = []
        for path, tensor in reversed(new.values()):
            if tensor.digest in known:
                places[tensor.digest] = known[tensor.digest]
            elif tensor.nbytes >= SMALL:
                places[tensor.digest] = alone(tensor, blobs)
            else:
                small.append((path, tensor))
        for packed in _together(partial(_pack, blobs=blobs), [*_groups(small)]):
            places |= packed
    return places


def _together(write: Callable[[A], B], new: list[A]) -> list[B]:
    """``[write(each) for each in new]``, several at a time."""
    if len(new) < 2:
        return [write(each) for each in new]
    with ThreadPoolExecutor(max_workers=min(len(new), WRITERS)) as pool:
        return [*pool.map(write, new)]


def alone(tensor: Tensor, blobs: Blobs) -> Place:
    """A tensor in a blob of its own."""
    blobs.put(tensor.chunks(), tensor.digest)
    return Place(tensor.digest, len(header(tensor.type, tensor.nbytes)))


def _groups(entries: list[Entry]) -> Iterator[list[Entry]]:
    """The entries, in order, in groups of about :data:`PACK` bytes."""
    group: list[Entry] = []
    size = 0
    for path, tensor in entries:
        group.append((path, tensor))
        size += tensor.nbytes
        if size >= PACK:
            yield group
            group, size = [], 0
    if group:
        yield group


def _pack(group: list[Entry], blobs: Blobs) -> dict[str, Place]:
    """Several tensors as one safetensors blob, those first whose size keeps the next aligned."""
    if len(group) == 1:
        ((_, tensor),) = group
        return {tensor.digest: alone(tensor, blobs)}
    group = sorted(group, key=lambda entry: (entry[1].nbytes % ALIGNMENT != 0, entry[0]))
    described: dict[str, dict[str, Any]] = {}
    offset = 0
    for path, tensor in group:
        name = path if path and path not in described else f"{path}.{tensor.digest[7:15]}"
        end = offset + tensor.nbytes
        described[name] = describe(tensor.type, offset, end)
        offset = end
    start = framed(described)
    blob = blobs.put([start, *(piece for _, tensor in group for piece in tensor.numbers())])
    ends = accumulate((tensor.nbytes for _, tensor in group), initial=len(start))
    return {t.digest: Place(blob, at) for (_, t), at in zip(group, ends, strict=False)}
