"""Raw binary: the leaves of a value one after the other, each dense, row-major, little-endian.

Nothing in the bytes tells the sizes of named dimensions. They are parameters of the content type,
`application/octet-stream; b=3; t=128`; one of them may be left out, as the length tells it.
"""

from __future__ import annotations

from math import prod

from serve.arrays import SIZES, Array
from serve.body.codec import checked
from serve.body.forms import OCTETS
from serve.body.lists import shown
from serve.errors import RequestError
from serve.types import leaves, show

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

    from serve.types import Leaf, Type

LONGEST = 9  # digits of a size


def from_octets(body: bytes, given: Mapping[str, str], of: Type) -> list[Array]:
    """The leaves of a request, in type order; `given` are the parameters of its content type.

    Raises:
        RequestError: the length fits no sizes, or more than one choice of them.
    """
    wanted = list(leaves(of))
    sizes = _sizes(wanted, given, of)
    free = [name for name in dict.fromkeys(_names(wanted)) if name not in sizes]
    if free:
        sizes[free[-1]] = _solved(free, wanted, sizes, len(body), of)
    arrays, at = [], 0
    for leaf in wanted:
        shape = tuple(sizes[d] if isinstance(d, str) else d for d in leaf.dims)
        end = at + prod(shape) * SIZES[leaf.dtype]
        arrays.append(Array(leaf.dtype, shape, body[at:end]))
        at = end
    if at != len(body):
        raise RequestError(f"expected {at} bytes for {show(of)}, got {len(body)}")
    return [checked(a, leaf) for a, leaf in zip(arrays, wanted, strict=True)]


def to_octets(arrays: list[Array]) -> bytes:
    """The bytes of an answer."""
    return b"".join(a.data for a in arrays)


def content_type(arrays: list[Array], of: Type) -> str:
    """The content type of an answer, with the sizes of the dimensions that its type names."""
    sizes = {
        name: n
        for a, leaf in zip(arrays, leaves(of), strict=True)
        for name, n in zip(leaf.dims, a.shape, strict=True)
        if isinstance(name, str) and name.isascii() and name.isidentifier()
    }
    return "; ".join([OCTETS, *(f"{name}={n}" for name, n in sizes.items())])


def _names(wanted: list[Leaf]) -> list[str]:
    return [dim for leaf in wanted for dim in leaf.dims if isinstance(dim, str)]


def _sizes(wanted: list[Leaf], given: Mapping[str, str], of: Type) -> dict[str, int]:
    names = set(_names(wanted))
    for name, text in given.items():
        if name not in names:
            told = f"parameters that {show(of)} names" if names else f"no parameters for {show(of)}"
            raise RequestError(f"Content-Type: expected {told}, got {shown(name)}")
        if not (text.isascii() and text.isdigit() and len(text) <= LONGEST):
            text = f"expected a whole number for {name}, got {shown(text)}"
            raise RequestError(f"Content-Type: {text}")
    return {name: int(text) for name, text in given.items()}


def _solved(
    free: list[str], wanted: list[Leaf], sizes: dict[str, int], length: int, of: Type
) -> int:
    """The size of the one dimension that is not given, which the length tells."""
    name = free[-1]
    fixed = each = 0
    for leaf in wanted:
        known = (sizes.get(d, 1) if isinstance(d, str) else d for d in leaf.dims)
        size = prod(known) * SIZES[leaf.dtype]
        fixed, each = (fixed, each + size) if name in leaf.dims else (fixed + size, each)
    twice = any(leaf.dims.count(name) > 1 for leaf in wanted)
    if len(free) > 1 or twice or not each:
        told = "; ".join(f"{n}=..." for n in free)
        text = f"expected sizes that the length does not tell, Content-Type: {OCTETS}; {told}"
        raise RequestError(f"{text}, for {show(of)}")
    if length < fixed or (length - fixed) % each:
        whole = f"{fixed} bytes and {each}" if fixed else f"{each} bytes"
        raise RequestError(f"expected {whole} for each of {name} in {show(of)}, got {length} bytes")
    return (length - fixed) // each
