"""The .npy file format, versions 1 and 2, of one plain array; never a pickle.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re

from serve.arrays import SIZES, Array
from serve.errors import RequestError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from serve.types import Leaf

MAGIC = b"\x93NUMPY"
LONGEST = 10_000  # bytes of header; numpy reads no longer one either

_LENGTH = re.compile(r"\d{0,18}", re.ASCII)

_HEADER = re.compile(
    r"""\{\s*['"]descr['"]:\s*['"](?P<descr>[<>|=]?\w+)['"]\s*,"""
    r"""\s*['"]fortran_order['"]:\s*(?P<fortran>True|False)\s*,"""
    r"""\s*['"]shape['"]:\s*\((?P<shape>[\d,\s]*)\)\s*,?\s*\}\s*""",
    re.ASCII,
)


def descr(dtype: str) -> str:
    """`descr("float32")` is `<f4`. bfloat16 has no name in numpy: it is two bytes, `<V2`."""
    size = SIZES[dtype]
    kind = {"b": "V", "f": "f", "i": "i", "u": "u"}[dtype[0]] if dtype != "bool" else "b"
    return f"{'|' if size == 1 else '<'}{kind}{size}"


def to_npy(a: Array) -> bytes:
    """The array as a .npy file, byte for byte as numpy.save writes it."""
    shape = f"({', '.join(map(str, a.shape))}{',' * (len(a.shape) == 1)})"
    header = f"{{'descr': '{descr(a.dtype)}', 'fortran_order': False, 'shape': {shape}, }}"
    # numpy leaves room for the first axis to grow to 20 digits, then aligns the data to 64.
    header += " " * (21 - len(str(a.shape[0])) if a.shape else 0)
    header += " " * (-(len(MAGIC) + 4 + len(header) + 1) % 64) + "\n"
    return b"".join((MAGIC, b"\1\0", len(header).to_bytes(2, "little"), header.encode(), a.data))


def from_npy(body: bytes, leaf: Leaf) -> Array:
    """The array in a .npy file, which has the dtype of the leaf."""
    if body[:6] != MAGIC or body[6:7] not in (b"\1", b"\2"):
        raise RequestError(f"expected a .npy file of version 1 or 2 that holds {leaf}")
    width = 2 * body[6]
    start = 8 + width
    end = start + int.from_bytes(body[8:start], "little")
    header = _HEADER.fullmatch(body[start : min(end, start + LONGEST)].decode("latin-1"))
    lengths = [n.strip() for n in header["shape"].split(",")] if header else []
    if header is None or end > len(body) or not all(map(_LENGTH.fullmatch, lengths)):
        raise RequestError(f"expected a .npy file with the header of one plain array for {leaf}")
    expected = descr(leaf.dtype)
    if header["descr"].replace("|V2", "<V2") != expected:
        text = f'expected a .npy file of dtype "{expected}" for {leaf}, got "{header["descr"]}"'
        raise RequestError(text + f': save x.astype("{leaf.dtype}")')
    if header["fortran"] == "True":
        text = f"expected a .npy file in C order for {leaf}, got Fortran order"
        raise RequestError(text + ": save numpy.ascontiguousarray(x)")
    return Array(leaf.dtype, tuple(int(n) for n in lengths if n), body[end:])
