"""One tensor of a request, in whichever way its numbers came, and what it is for the model."""

from __future__ import annotations

from math import prod

from serve.arrays import Array
from serve.body.codec import checked
from serve.body.lists import from_lists, shown
from serve.errors import RequestError
from serve.types import Leaf
from serve.v2.model import BYTES, DATATYPES, described, several

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

LARGEST = 1 << 63  # a dimension is an int64 in the protocol


class Tensor:
    """A tensor as it came. `data` is its dense bytes, or a list of its elements, nested or flat.

    With `finite`, an infinity is a number that was too large for the JSON reader.
    """

    __slots__ = ("data", "datatype", "finite", "name", "shape")

    def __init__(
        self, name: str, datatype: Any, shape: Any, data: bytes | list[Any], finite: bool
    ) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.data = data
        self.finite = finite


def array(tensor: Tensor, leaf: Leaf) -> Array:
    """The tensor as the array that the leaf wants.

    Raises:
        RequestError: its datatype, rank, a fixed dimension or its data do not fit the leaf.
    """
    what = described(tensor.name, leaf)
    if tensor.datatype != DATATYPES[leaf.dtype]:
        raise RequestError(f"expected the datatype of {what}, got {shown(tensor.datatype)}")
    shape = _shape(tensor.shape, what)
    fixed = (dim if isinstance(dim, int) else None for dim in leaf.dims)
    if len(shape) != len(leaf.dims) or any(
        n not in (None, m) for n, m in zip(fixed, shape, strict=True)
    ):
        raise RequestError(f"expected the shape of {what}, got {_short(shape)}")
    if isinstance(tensor.data, bytes):
        return checked(Array(leaf.dtype, shape, tensor.data), leaf)
    nested = bool(tensor.data) and type(tensor.data[0]) is list
    dims = shape if nested else (prod(shape),)
    read = from_lists(tensor.data, Leaf(leaf.path, leaf.dtype, dims), tensor.finite)
    return Array(leaf.dtype, shape, read.data)


def elements(tensor: Tensor) -> list[Any]:
    """The elements of a tensor of BYTES with one dimension: bytes, or whatever JSON had there.

    Raises:
        RequestError: it is not that.
    """
    what = several(tensor.name)
    if tensor.datatype != BYTES:
        raise RequestError(f"expected the datatype of {what}, got {shown(tensor.datatype)}")
    shape = _shape(tensor.shape, what)
    found = _split(tensor.data, what) if isinstance(tensor.data, bytes) else tensor.data
    if shape != (len(found),):
        text = f"expected the shape of {what} with {len(found)} elements, got {_short(shape)}"
        raise RequestError(text)
    return found


def texts(tensor: Tensor) -> list[Any]:
    """The elements of a tensor of texts, which are UTF-8. Raises as `elements` does."""
    try:
        return [one.decode() if isinstance(one, bytes) else one for one in elements(tensor)]
    except UnicodeDecodeError as error:
        text = f"expected UTF-8 in {several(tensor.name)}: {error.reason}"
        raise RequestError(text) from None


def _split(data: bytes, what: str) -> list[bytes]:
    """Strings one after the other, each after its length: four bytes, the lowest first."""
    found, at = [], 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or at > len(data):
            raise RequestError(f"expected the length of each of {what}, then so many bytes")
        found.append(data[start:at])
    return found


def _shape(shape: Any, what: str) -> tuple[int, ...]:
    whole = type(shape) is list and all(type(n) is int and 0 <= n < LARGEST for n in shape)
    if not whole:
        raise RequestError(f"expected a list of whole numbers as the shape of {what}")
    return tuple(shape)


def _short(shape: tuple[int, ...]) -> str:
    return str(list(shape)) if len(shape) <= 8 else f"{len(shape)} dimensions"
