"""Nested lists of numbers, as JSON spells arrays: `from_lists` reads them, `to_json` writes them.

Both work on whole levels at a time, in C where the standard library does, and look for the one
wrong element only once they know that there is one.
"""

from __future__ import annotations

import struct
from array import array
from itertools import chain
from math import inf, isfinite

from serve.arrays import FORMATS, SIZES, Array
from serve.errors import RequestError
from serve.types import place

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from serve.types import Leaf

FLOATS = ("float16", "bfloat16", "float32", "float64")

# As few digits as tell every number of the dtype from its neighbours, so that reading an answer
# back is exact. A float32 in nine digits takes half the time of the double that equals it.
_DIGITS = {"bool": "%s", "float16": "%.5g", "bfloat16": "%.4g", "float32": "%.9g", "float64": "%r"}


def from_lists(value: object, leaf: Leaf, finite: bool = True) -> Array:
    """The array that nested lists spell; a RequestError names the first element that is wrong.

    With `finite`, infinities are numbers that were too large for the JSON reader.
    """
    items: list[Any] = [value]
    shape: tuple[int, ...] = ()
    for dim in leaf.dims:
        items, length = _open(items, shape, dim, leaf)
        shape = (*shape, length)
    return Array(leaf.dtype, shape, _pack(items, shape, leaf, finite))


def to_json(a: Array) -> str:
    """The JSON text of an array as nested lists; a number that is not finite is `null`."""
    template = _DIGITS.get(a.dtype, "%d")
    for length in reversed(a.shape):
        template = "[" + ",".join([template] * length) + "]"
    text = template % tuple(_unpack(a))
    if a.dtype in FLOATS and "n" in text:  # in nan, inf and -inf, and in no number
        text = text.replace("nan", "null").replace("-inf", "null").replace("inf", "null")
    return text


def shown(value: object) -> str:
    """What came, in the words of JSON and short enough for a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object with " + (_short(", ".join(map(repr, value))) or "no keys")
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if value in (inf, -inf):
        return "a number that is too large"
    return _short(f'"{value}"' if isinstance(value, str) else repr(value))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _open(items: list, shape: tuple[int, ...], dim: int | str, leaf: Leaf) -> tuple[list, int]:
    """All elements of all lists at one level, and the one length that these lists have."""
    if not items:
        return [], dim if isinstance(dim, int) else 0
    if set(map(type, items)) != {list}:
        nested = "list of " + "lists of " * (len(leaf.dims) - 1) + "numbers"
        what = f"a list, as {leaf} is a {nested}"
        raise _wrong(items, shape, leaf, what, lambda item: type(item) is not list)
    length = dim if isinstance(dim, int) else len(items[0])
    if set(map(len, items)) != {length}:
        ragged = "" if isinstance(dim, int) else " like the first, as all must be equally long"
        what = f"a list of {length} for {leaf}{ragged}"
        raise _wrong(items, shape, leaf, what, lambda item: len(item) != length)
    return list(chain.from_iterable(items)), length


def _pack(items: list, shape: tuple[int, ...], leaf: Leaf, finite: bool) -> bytes:
    kinds = set(map(type, items))
    if leaf.dtype == "bool":
        if kinds - {bool}:
            what = f"true or false for {leaf}"
            raise _wrong(items, shape, leaf, what, lambda x: type(x) is not bool)
        return bytes(items)
    if leaf.dtype in FLOATS:
        if kinds - {int, float}:
            what = f"a number for {leaf}"
            raise _wrong(items, shape, leaf, what, lambda x: type(x) not in (int, float))
        return _pack_floats(items, shape, leaf, finite)
    if kinds - {int}:
        if not all(map(_whole, items)):
            what = f"a whole number for {leaf}"
            raise _wrong(items, shape, leaf, what, lambda x: not _whole(x))
        items = list(map(int, items))
    return _pack_ints(items, shape, leaf)


def _whole(x: object) -> bool:
    # JSON has one kind of number: 2.0 is the whole number 2.
    return type(x) is int or (isinstance(x, float) and x.is_integer())


def _pack_ints(items: list[int], shape: tuple[int, ...], leaf: Leaf) -> bytes:
    try:
        return array(FORMATS[leaf.dtype], items).tobytes()
    except OverflowError:
        bits, signed = 8 * SIZES[leaf.dtype], leaf.dtype[0] == "i"
        low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        what = f"a whole number from {low} to {high - 1} for {leaf}"
        raise _wrong(items, shape, leaf, what, lambda x: not low <= x < high) from None


def _pack_floats(items: list[float], shape: tuple[int, ...], leaf: Leaf, finite: bool) -> bytes:
    try:
        data = _round(items, leaf.dtype)
        suspect = not isfinite(sum(_floats(data, leaf.dtype)))  # one that is not finite shows
    except OverflowError:
        data, suspect = b"", True
    if suspect and any(_overflows(x, leaf.dtype, finite) for x in items):
        what = f"a number that {leaf.dtype} can hold for {leaf}"
        raise _wrong(items, shape, leaf, what, lambda x: _overflows(x, leaf.dtype, finite))
    return data


def _overflows(x: float, dtype: str, finite: bool) -> bool:
    if x != x or x in (inf, -inf):
        return finite
    try:
        return not isfinite(_floats(_round([x], dtype), dtype)[0])
    except OverflowError:
        return True


def _wrong(
    items: list,
    shape: tuple[int, ...],
    leaf: Leaf,
    what: str,
    test: Callable[[Any], bool],
) -> RequestError:
    """The error for the first of the items, which fill `shape`, that passes the test."""
    i = at = next(i for i, item in enumerate(items) if test(item))
    index: list[int] = []
    for length in reversed(shape):
        at, k = divmod(at, length)
        index.insert(0, k)
    return RequestError(f"{place((*leaf.path, *index))}: expected {what}, got {shown(items[i])}")


def _round(items: list[float], dtype: str) -> bytes:
    """The numbers in the dtype, each to its nearest, ties to even."""
    if dtype == "float16":
        # Of a whole number that is too large, struct would complain in other words.
        return struct.pack(f"={len(items)}e", *map(float, items))
    if dtype == "bfloat16":
        # By way of float32, as XLA and ml_dtypes do. 0x7FFF and the last bit kept round half to
        # even; a NaN would round to infinity, so it becomes the quiet one.
        bits = array("I", array("f", items).tobytes())
        upper = [
            u + 0x7FFF + (u >> 16 & 1) >> 16 if u & 0x7FFFFFFF <= 0x7F800000 else u >> 16 | 0x40
            for u in bits
        ]
        return array("H", upper).tobytes()
    return array(FORMATS[dtype], items).tobytes()


def _floats(data: bytes, dtype: str) -> Sequence[float]:
    if dtype == "float16":
        return struct.unpack(f"={len(data) // 2}e", data)
    if dtype == "bfloat16":
        return array("f", array("I", [u << 16 for u in array("H", data)]).tobytes())
    return array(FORMATS[dtype], data)


def _unpack(a: Array) -> Iterable[Any]:
    if a.dtype == "bool":
        return ("true" if x else "false" for x in a.data)
    return _floats(a.data, a.dtype) if a.dtype in FLOATS else array(FORMATS[a.dtype], a.data)
