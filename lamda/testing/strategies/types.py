"""Types and values: dimensions, trees of arrays, and the numbers in them."""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.strategies import SearchStrategy

from lamda import types as kinds
from lamda.dims import Dim
from lamda.model import Model
from lamda.types import ArrayType, Type

POOL: tuple[Dim, ...] = ("b", 1, 2, 3)
"""The dimensions that are drawn: so few that shapes come again, and what was traced is used."""

SHAPES: tuple[tuple[Dim, ...], ...] = (
    (), ("b",), ("b", 2), ("b", 3), (2,), (3,), (2, 2), (1,), ("b", 1), (3, 2),
)  # fmt: skip
"""The shapes that are drawn; named dimensions stand first."""

DTYPES = ("float32",) * 8 + ("int32", "bool", "bfloat16", "float16")


def dims() -> SearchStrategy[Dim]:
    """A dimension: ``"b"``, 1, 2 or 3."""
    return st.sampled_from(POOL)


@cache
def array_types() -> SearchStrategy[ArrayType]:
    """The type of one array, of rank 0, 1 or 2: most often of float32."""
    return st.builds(ArrayType, st.sampled_from(DTYPES), st.sampled_from(SHAPES))


@cache
def types() -> SearchStrategy[Type]:
    """A type: an array; more rarely a pair or a dict of arrays, or of pairs."""
    array = array_types()
    pair = st.tuples(array, array)
    trees = (pair, st.fixed_dictionaries({"x": array, "y": array}), st.tuples(pair, array))
    return st.integers(0, 9).flatmap(lambda n: trees[n - 7] if n > 6 else array)


def arrays(type: Any, sizes: Mapping[str, int] | None = None) -> SearchStrategy[Any]:
    """A value of a type: a tree of numpy arrays.

    Named dimensions are ``sizes``, or drawn from 1 to 3, the same in all arrays. Floating numbers
    are multiples of 1/8 from -2 to 2, so that their sums are exact; whole numbers are 0 to 3.
    """
    type = kinds.typeof(type)
    missing = [name for name in kinds.names(type) if name not in (sizes or {})]
    drawn = st.fixed_dictionaries({name: st.integers(1, 3) for name in missing})
    return drawn.flatmap(lambda found: _tree(kinds.substitute(type, {**(sizes or {}), **found})))


def inputs(model: Model) -> SearchStrategy[Any]:
    """A value that a model takes."""
    return arrays(model.require_input())


def _tree(type: Type) -> SearchStrategy[Any]:
    if isinstance(type, ArrayType):
        return _array(type)
    if isinstance(type, tuple):
        return st.tuples(*map(_tree, type))
    return st.fixed_dictionaries({key: _tree(inner) for key, inner in type.items()})


def _array(type: ArrayType) -> SearchStrategy[np.ndarray]:
    dtype = jnp.dtype(type.dtype)
    numbers = _numbers(dtype.kind == "b", dtype.kind in "iu", tuple(int(d) for d in type.shape))
    unit = 1 if dtype.kind in "biu" else 8
    return numbers.map(lambda n: np.asarray(n.astype(np.float32) / unit).astype(dtype))


@lru_cache(maxsize=256)
def _numbers(truth: bool, whole: bool, shape: tuple[int, ...]) -> SearchStrategy[np.ndarray]:
    """Small whole numbers."""
    least, most = (0, 1) if truth else (0, 3) if whole else (-16, 16)
    return hnp.arrays(np.int8, shape, elements=st.integers(least, most))
