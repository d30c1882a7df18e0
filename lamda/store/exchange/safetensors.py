"""safetensors: one file, or several and an index (https://github.com/huggingface/safetensors)."""

import json
import math
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lamda import errors
from lamda.store.files import write_file
from lamda.tensor import ALIGNMENT, SAFETENSORS, Tensor, describe, framed

LONGEST = 100 << 20
"""Bytes of a header; the library of the format takes no more."""
INDEX = "*.safetensors.index.json"
METADATA = "__metadata__"

_DTYPES = {code: name for name, code in SAFETENSORS.items()}


def read(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file, or of the files that an index names; read-only memory maps."""
    if path.is_dir():
        path = _only(path)
    if path.suffix != ".json":
        return _file(path)
    found: dict[str, np.ndarray] = {}
    files: dict[str, dict[str, np.ndarray]] = {}
    for name, shard in _weight_map(path).items():
        if shard not in files:
            files[shard] = _file(path.parent / shard)
        if name not in files[shard]:
            raise _bad(path, f"{shard} has no {name!r}")
        found[name] = files[shard][name]
    return found


def shards(path: Path) -> list[Path]:
    """The indexes of a directory that holds safetensors, or the files where it has none."""
    return sorted(path.glob(INDEX)) or sorted(path.glob("*.safetensors"))


def write(path: Path, weights: Mapping[str, Tensor], address: str) -> None:
    """Write one file; those first whose size keeps the next one aligned. Raises SpecError."""
    if METADATA in weights:
        why = f"{METADATA} is no name for a tensor in this format"
        raise errors.SpecError(errors.NOT_EXPORTED.format(path=path, why=why))
    rows = sorted(weights.items(), key=lambda row: (row[1].nbytes % ALIGNMENT != 0, row[0]))
    entries: dict[str, dict[str, Any]] = {METADATA: {"dev.lamda.address": address}}
    offset = 0
    for name, tensor in rows:
        entries[name] = describe(tensor.type, offset, offset + tensor.nbytes)
        offset += tensor.nbytes

    def chunks() -> Iterator[bytes | memoryview]:
        yield framed(entries)
        for _, tensor in rows:
            yield from tensor.numbers()

    write_file(path.absolute(), chunks())


def _only(path: Path) -> Path:
    found = shards(path)
    if len(found) > 1:
        names = ", ".join(each.name for each in found[:3])
        raise _bad(path, f"it has {len(found)} of them ({names}, ...). Give the path of one")
    return found[0]


def _weight_map(path: Path) -> dict[str, str]:
    """Which file has which tensor: files beside the index, and no others."""
    try:
        named = json.loads(path.read_bytes())["weight_map"]
        for shard in named.values():
            if Path(shard).name != shard or not (path.parent / shard).is_file():
                raise ValueError(f"{shard!r} is no file beside it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _bad(path, f"{type(error).__name__}: {error}") from error
    return named


def _file(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        if size < 8:
            raise _bad(path, f"it has {size} bytes")
        data = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    length = int.from_bytes(data[:8], "little")
    if length > min(LONGEST, size - 8):
        raise _bad(path, f"its header would have {length:,} bytes, and the file has {size:,}")
    try:
        header = json.loads(bytes(data[8 : 8 + length]).decode(), object_pairs_hook=_once)
        header.pop(METADATA, None)
        found = {name: _array(entry, data[8 + length :]) for name, entry in header.items()}
        _require_whole(header, size - 8 - length)
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _bad(path, f"{type(error).__name__}: {error}") from error


def _array(entry: dict[str, Any], data: memoryview) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {entry['dtype']} is none that a model keeps")
    start, end = entry["data_offsets"]
    dtype, shape = jnp.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
    if not 0 <= start <= end <= len(data) or min(shape, default=0) < 0:
        raise ValueError(f"its numbers would be at {start} to {end} of {len(data)} bytes")
    if math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f"{end - start} bytes are not {dtype.name}{list(shape)}")
    return np.frombuffer(data[start:end], np.uint8).view(dtype).reshape(shape)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has the same name twice")
    return found


def _require_whole(header: Mapping[str, Any], size: int) -> None:
    """Each byte of the numbers is of one tensor, as the format has it. Raises ValueError."""
    at = 0
    for start, end in sorted(tuple(entry["data_offsets"]) for entry in header.values()):
        if start != at:
            raise ValueError(f"two tensors have bytes {start} to {at}, or none has {at} to {start}")
        at = end
    if at != size:
        raise ValueError(f"no tensor has the last {size - at} bytes")


def _bad(path: Path, why: str) -> errors.StoreError:
    return errors.StoreError(errors.BAD_FILE.format(path=path, format="safetensors", why=why))
