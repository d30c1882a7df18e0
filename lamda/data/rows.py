"""Rows: trees of arrays with one first axis, as immutable arrays of NumPy."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import errors, types
from lamda.tensor import SAFETENSORS
from lamda.types import ArrayType, Type

ROWS = "n"
"""The dimension of rows, in the types of a data set."""


def still(inputs: Any, targets: Any, copied: bool = True) -> tuple[dict[str, Any], int]:
    """``{"inputs": ..., "targets": ...}`` as arrays that nobody can change, and how many rows.

    Without ``copied``, whoever gave them must not. Raises SpecError where they have not one first
    axis, or no row.
    """
    tree = {"inputs": _tree(inputs, copied), "targets": _tree(targets, copied)}
    parts = [list(types.leaves(types.typeof(part))) for part in tree.values()]
    counts = {leaf.shape[0] if leaf.shape else None for part in parts for _, leaf in part}
    if not all(parts) or len(counts) != 1 or counts & {None, 0}:
        given = " and ".join(types.show(types.typeof(part)) for part in tree.values())
        raise errors.SpecError(errors.DATA_ROWS.format(given=given))
    (count,) = counts
    return tree, int(count or 0)


def type_of(concrete: Type) -> Type:
    """The type of rows, whose first dimension is ``n``, of the type of some of them."""
    return types.transform(lambda leaf: ArrayType(leaf.dtype, (ROWS, *leaf.shape[1:])), concrete)


def _tree(value: Any, copied: bool) -> Any:
    types.typeof(value)  # which refuses what is no tree of arrays
    if isinstance(value, Mapping):
        return {key: _tree(value[key], copied) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return tuple(_tree(each, copied) for each in value)
    return _array(np.asarray(value), copied)


def _array(array: np.ndarray, copied: bool) -> np.ndarray:
    """The array with a dtype that JAX has here; with ``copied``, one that nobody can change."""
    try:
        wanted = jax.dtypes.canonicalize_dtype(array.dtype).newbyteorder("=")
    except TypeError:
        wanted = array.dtype
    if (name := jnp.dtype(wanted).name) not in SAFETENSORS:
        known = ", ".join(SAFETENSORS)
        raise errors.SpecError(errors.NO_SAFETENSORS.format(dtype=name, known=known))
    if wanted != array.dtype:
        array = _as(array, wanted)
    elif copied and _changeable(array):
        array = array.copy()
    array = array.view()
    array.flags.writeable = False
    return array


def _as(array: np.ndarray, wanted: np.dtype) -> np.ndarray:
    """The array in another dtype. Raises SpecError where a number is too large for it."""
    try:
        if array.size and jnp.issubdtype(wanted, jnp.integer):
            bounds = np.iinfo(wanted)
            if array.min() < bounds.min or array.max() > bounds.max:
                raise FloatingPointError
        with np.errstate(over="raise"):
            return array.astype(wanted)
    except FloatingPointError:
        text = errors.DATA_RANGE.format(given=array.dtype.name, wanted=wanted.name)
        raise errors.SpecError(text) from None


def _changeable(array: Any) -> bool:
    """Whether anybody can write to an array: by it, or by what it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    readonly = array.readonly if isinstance(array, memoryview) else True
    return isinstance(array, bytearray) or not readonly
