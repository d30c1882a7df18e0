"""Shards in a store: a data set as a record and blobs, and back, opened where it is used.

A large tensor is a blob of its own, small ones of a shard share one; both are safetensors files.
The record of a version lists all of its shards, and those before stand in it as they did.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import types
from lamda.data import DataSet, Shard
from lamda.store import media, packs
from lamda.store.blobs import Blobs
from lamda.store.checked import VERSION
from lamda.tensor import Tensor, Weights

RECORDS = "records"
"""The path of the tensor of a shard that tells of what records of feedback its rows are."""


def record(data: DataSet, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The record of a data set whose shards have these entries; ``pred`` is still to be said."""
    return {
        "version": VERSION,
        "kind": media.DATA,
        "address": data.address,
        "name": f"{len(data):,} row{'s' * (len(data) > 1)}",
        "rows": len(data),
        "input": types.to_json(data.input),
        "target": types.to_json(data.target),
        "shards": list(entries),
    }


def write(shard: Shard, blobs: Blobs) -> dict[str, Any]:
    """The entry of a shard, whose tensors are put."""
    packs.ahead(shard.tensors(), blobs)
    named = [("/".join(path), tensor) for path, tensor in shard.rows.items()]
    if shard.records is not None:
        named.append((RECORDS, shard.records))
    places = packs.keep((), named, {}, blobs)

    found = [places[tensor.digest].entry(path, tensor) for path, tensor in named]
    recorded = None if shard.records is None else found.pop()
    rows = {"address": shard.address, "count": shard.count}
    return rows | {"tensors": found, RECORDS: recorded}


def tensors(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """What an entry says of every tensor of a shard."""
    return [*entry["tensors"], *([] if entry[RECORDS] is None else [entry[RECORDS]])]


def nbytes(entry: dict[str, Any]) -> int:
    """Bytes of the numbers of its rows."""
    sizes = (math.prod(t["shape"]) * jnp.dtype(t["dtype"]).itemsize for t in entry["tensors"])
    return sum(sizes)


def identity(entry: dict[str, Any]) -> tuple[str, str | None]:
    """As :attr:`Shard.identity`."""
    return entry["address"], None if entry[RECORDS] is None else entry[RECORDS]["digest"]


def read(
    found: dict[str, Any], blobs: Blobs, admit: Callable[[str], None] = lambda _: None
) -> DataSet:
    """The data set of a record. ``admit(blob)`` is called before a blob is used.

    Nothing is opened now; tensors are read-only memory maps.
    """
    tree = {"inputs": types.from_json(found["input"]), "targets": types.from_json(found["target"])}
    structure = jax.tree.structure(tree, is_leaf=types.is_array)

    def tensor(entry: dict[str, Any]) -> Tensor:
        type = types.ArrayType(entry["dtype"], tuple(entry["shape"]))
        load = partial(_array, type, entry["blob"], entry["offset"], blobs, admit)
        return Tensor.lazy(type, entry["digest"], load)

    def shard(entry: dict[str, Any]) -> Shard:
        rows = Weights(structure, tuple(map(tensor, entry["tensors"])))
        recorded = entry[RECORDS]
        return Shard(rows, entry["count"], None if recorded is None else tensor(recorded))

    return DataSet(tuple(map(shard, found["shards"])))


def recomputed(found: dict[str, Any], blobs: Blobs) -> str:
    """The address of a record, from its bytes alone. Raises ValueError where they are others."""
    data = read(found, blobs)
    for shard, entry in zip(data.shards, found["shards"], strict=True):
        for tensor in shard.tensors():
            if Tensor(tensor.array).digest != tensor.digest:
                raise ValueError(f"a tensor is not what its digest says, {tensor.digest}")
        if shard.address != entry["address"]:
            raise ValueError(f"the address of a shard is {shard.address}, not {entry['address']}")
    return data.address


def _array(
    type: types.ArrayType, blob: str, offset: int, blobs: Blobs, admit: Callable[[str], None]
) -> np.ndarray:
    admit(blob)
    dtype, count = jnp.dtype(type.dtype), math.prod(map(int, type.shape))
    array = np.frombuffer(blobs.map(blob), dtype=dtype, count=count, offset=offset)
    return array.reshape(type.shape)  # type: ignore[arg-type]
