"""Primitives: single parts, by what they take and give."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import lamda as lm
from lamda import types as kinds
from lamda.model import Model
from lamda.testing import parts
from lamda.testing.strategies.goal import goal
from lamda.types import ArrayType, Flat, Type

FLOATS = ("float32", "float16", "bfloat16")
NUMBERS = (*FLOATS, "int32")

SAME = (parts.double, parts.negative, parts.relu, parts.square, parts.tanh, parts.dropout)
WEIGHTED = (parts.scale, parts.shift)
CASTS = {
    "float32": parts.to_float32,
    "float16": parts.to_float16,
    "bfloat16": parts.to_bfloat16,
    "int32": parts.to_int32,
}

Make = Callable[[], Model]


def primitives(input: Any = None, output: Any = None) -> SearchStrategy[Model]:
    """A single part from ``input`` to ``output``; open where it has weights."""
    return _primitives(goal(input, output))


@st.composite
def _primitives(draw: DrawFn, goals: SearchStrategy[tuple[Type, Type]]) -> Model:
    taken, given = draw(goals)
    return draw(st.sampled_from(fitting(taken, given)))()


def fitting(input: Type, output: Type) -> list[Make]:
    """What makes each single part from one type to another, simplest first; never none.

    The last resort is :func:`lamda.testing.parts.spread`.
    """
    found = [
        *(_of_array(input, output) if isinstance(output, ArrayType) else ()),
        *(_of_pair(input, output) if isinstance(output, ArrayType) else ()),
    ]
    return [*found, lambda: lifted(parts.spread(input, output), input)]


def _of_array(input: Type, output: ArrayType) -> list[Make]:
    """Parts of one array."""
    if not isinstance(input, ArrayType):
        return []
    functions: list[Callable[..., Any]] = []
    weighted: list[Make] = []
    if input == output and input.dtype in NUMBERS:
        count = len(SAME) if input.dtype in FLOATS else 3
        functions += SAME[:count]
    if input == output and input.dtype in FLOATS:
        weighted += [lambda f=f: parts.open(f, input) for f in WEIGHTED]
    if _dense(input, output):
        weighted.append(lambda: parts.open(parts.dense, input, int(output.shape[-1])))
    if input == output and input.dtype == "bool":
        functions.append(parts.inverted)
    if input.shape == output.shape:
        functions += _changing(input.dtype, output.dtype)
    if input.shape[:-1] == output.shape and input.shape and input.dtype == output.dtype:
        functions += [parts.total] if input.dtype in NUMBERS else []
    plain = [lambda f=f: lifted(f, input) for f in functions]
    return [*plain[:1], *weighted, *plain[1:]]


def _changing(given: str, wanted: str) -> list[Callable[[Any], Any]]:
    """Parts that change the dtype."""
    if given == wanted:
        return []
    if wanted != "bool":
        fits = wanted in CASTS and (wanted != "int32" or given in FLOATS)
        return [CASTS[wanted]] if fits else []
    return [parts.positive] if given in FLOATS else [parts.nonzero] if given == "int32" else []


def _dense(input: ArrayType, output: ArrayType) -> bool:
    """Whether a dense layer goes from one type to the other."""
    return (
        input.dtype == output.dtype == "float32"
        and len(input.shape) == len(output.shape) > 0
        and input.shape[:-1] == output.shape[:-1]
        and isinstance(input.shape[-1], int)
        and isinstance(output.shape[-1], int)
    )


def _of_pair(input: Type, output: ArrayType) -> list[Make]:
    """Parts of a pair of equal types."""
    match input:
        case (ArrayType() as one, ArrayType() as two) if one == two and one.dtype in NUMBERS:
            if output == one:
                functions = [parts.plus, parts.minus, parts.times]
            elif output == ArrayType("bool", one.shape) and one.dtype in FLOATS:
                functions = [parts.above]
            else:
                functions = []
            return [lambda f=f: lifted(f, input) for f in functions]
    return []


def lifted(function: Callable[..., Any], input: Type) -> Model:
    """A part without weights, lifted once for each type, so that it is traced once."""
    return _lifted(function, kinds.flat(input))


@lru_cache(maxsize=8192)
def _lifted(function: Callable[..., Any], input: Flat) -> Model:
    return lm.lift(function, input=jax.tree.unflatten(*input))
