"""The first axis: what is mapped and scanned over."""

from lamda import dims, types
from lamda.dims import Dim
from lamda.types import ArrayType, Type


def first(type: Type) -> Dim | None:
    """The size of the first axis that all arrays share, or ``None`` where they do not."""
    sizes = {leaf.shape[0] if leaf.shape else None for _, leaf in types.leaves(type)}
    return sizes.pop() if len(sizes) == 1 else None


def without(type: Type) -> Type:
    """The type of one element along the first axis."""
    return types.transform(lambda leaf: ArrayType(leaf.dtype, leaf.shape[1:]), type)


def along(size: Dim, type: Type) -> Type:
    """The type of ``size`` elements along a new first axis."""
    return types.transform(lambda leaf: ArrayType(leaf.dtype, (size, *leaf.shape)), type)


def free(type: Type) -> Dim:
    """A name for a new first axis that the type does not use."""
    return dims.fresh("n", types.names(type))
