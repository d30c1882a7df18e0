"""Goals: what a drawn term takes and gives."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from lamda import dims, errors
from lamda import types as kinds
from lamda.dims import Dim
from lamda.testing.strategies.types import types
from lamda.types import ArrayType, Type


def goal(input: Any = None, output: Any = None) -> SearchStrategy[tuple[Type, Type]]:
    """An input and an output type; what is given is kept, and the rest fits it.

    Raises SpecError where the output has a dimension that the input does not have.
    """
    taken = None if input is None else kinds.typeof(input)
    given = None if output is None else kinds.typeof(output)
    if taken is not None and given is not None and not reaches(taken, given):
        text = errors.UNREACHABLE.format(input=kinds.show(taken), output=kinds.show(given))
        raise errors.SpecError(text)
    return _goal(taken, given)


@st.composite
def _goal(draw: DrawFn, input: Type | None, output: Type | None) -> tuple[Type, Type]:
    if input is None:
        input = draw(types()) if output is None else _leading(unnumbered(output), draw(types()))
    if output is None:
        output = like(input, draw(types())) if draw(st.booleans()) else input
    return input, output


def reaches(input: Type, output: Type) -> bool:
    """Whether every dimension of a type that is no number is known from another type."""
    known = {*kinds.names(input), *unnumbered(input)}
    return all(
        d in known or all(name in known for name in dims.names(d)) for d in unnumbered(output)
    )


def unnumbered(type: Type) -> list[Dim]:
    """The dimensions of a type that are no numbers, in order of first appearance."""
    found = [d for _, leaf in kinds.leaves(type) for d in leaf.shape if isinstance(d, str)]
    return list(dict.fromkeys(found))


def rowwise(input: Type, output: Type) -> bool:
    """Whether some dimension that is no number is in all arrays that go in and come out."""
    return bool(shared((input, output)))


def shared(type: Type) -> list[Dim]:
    """The dimensions that are no numbers and that all arrays of a type have."""
    leaves = [leaf.shape for _, leaf in kinds.leaves(type)]
    return [d for d in unnumbered(type) if all(d in shape for shape in leaves)]


def like(input: Type, type: Type) -> Type:
    """A type with the dimensions that all arrays of ``input`` have, so that rows stay rows.

    Its own dimensions stay where they are numbers.
    """
    return _leading(shared(input), type)


def _leading(kept: list[Dim], type: Type) -> Type:
    """A type whose arrays begin with these dimensions, and have no other but numbers."""

    def leaf(leaf: ArrayType) -> ArrayType:
        rest = [d for d in leaf.shape if isinstance(d, int)]
        return ArrayType(leaf.dtype, (*kept, *rest[: max(0, 2 - len(kept))]))

    return kinds.transform(leaf, type)
