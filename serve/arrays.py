"""Arrays without numpy: a dtype, a shape and bytes."""

from __future__ import annotations

import struct
from math import prod

# The characters of `array` and `struct`. Neither knows bfloat16, the upper half of a float32:
# its bits travel as uint16.
FORMATS = {
    "bool": "?",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float16": "e",
    "bfloat16": "H",
    "float32": "f",
    "float64": "d",
}
SIZES = {dtype: struct.calcsize("=" + code) for dtype, code in FORMATS.items()}


class Array:
    """`Array("float32", (2,), data)`: dense, row-major, little-endian."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, shape: tuple[int, ...], data: bytes) -> None:
        self.dtype = dtype
        self.shape = shape
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Array({self.dtype!r}, {self.shape!r}, {self.data!r})"

    def _key(self) -> tuple[str, tuple[int, ...], bytes]:
        return self.dtype, self.shape, self.data


def fit(a: Array, shape: tuple[int, ...]) -> Array:
    """The array in another shape of the same rank: cut where shorter, zeros where longer."""
    if a.shape == shape:
        return a
    return Array(a.dtype, shape, _fit(memoryview(a.data), a.shape, shape, SIZES[a.dtype]))


def _fit(data: memoryview, old: tuple[int, ...], new: tuple[int, ...], size: int) -> bytes:
    step, wide, kept = prod(old[1:]) * size, prod(new[1:]) * size, min(old[0], new[0])
    if old[1:] == new[1:]:
        rows = [data[: kept * step]]
    else:
        cells = (data[i * step : (i + 1) * step] for i in range(kept))
        rows = [_fit(cell, old[1:], new[1:], size) for cell in cells]
    return b"".join((*rows, bytes((new[0] - kept) * wide)))


def piece(a: Array, axis: int, start: int, stop: int) -> Array:
    """`a[..., start:stop, ...]` along `axis`."""
    step = prod(a.shape[axis + 1 :]) * SIZES[a.dtype]
    row, data = a.shape[axis] * step, memoryview(a.data)
    ats = (i * row for i in range(prod(a.shape[:axis])))
    shape = (*a.shape[:axis], stop - start, *a.shape[axis + 1 :])
    return Array(a.dtype, shape, b"".join(data[at + start * step : at + stop * step] for at in ats))


def join(pieces: list[Array], axis: int) -> Array:
    """The pieces one after the other along `axis`; the inverse of taking them with `piece`."""
    first = pieces[0]
    size = prod(first.shape[axis + 1 :]) * SIZES[first.dtype]
    parts = [(memoryview(p.data), p.shape[axis] * size) for p in pieces]
    rows = range(prod(first.shape[:axis]))
    data = b"".join(view[i * step : (i + 1) * step] for i in rows for view, step in parts)
    length = sum(p.shape[axis] for p in pieces)
    return Array(first.dtype, (*first.shape[:axis], length, *first.shape[axis + 1 :]), data)
