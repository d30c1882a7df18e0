"""Batches: each row for itself, whatever stands beside it.

These laws hold of models that work row by row, which not all do that have a batch dimension: a mean
over it has none of them. So this suite is checked where it is named, and nowhere else. A model is
taken to work row by row where its type says so: where one name is the first axis of every array
that goes in and comes out. Of any other model the laws are checked of ``vmap(m)``.
"""

from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st

import lamda as lm
from lamda import types
from lamda.compile.sizes import batch_dimension
from lamda.model import Model
from lamda.testing import strategies
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level
from lamda.testing.reference import reference
from lamda.testing.served import BATCH as SIZES
from lamda.testing.served import OTHER, can_be_served, leaves_of, served, value_of


@law("m of a batch is m of its rows, one by one", Level.VALUE)
def a_batch_is_its_rows(draw: Draw) -> Any:
    f = rowwise(draw.model())
    count = draw(st.integers(1, 4), "rows")
    x = _batch(draw, f, count)
    rows = [reference(f, _rows(x, [i])) for i in range(count)]
    return jax.tree.map(lambda *each: np.concatenate(each), *rows), reference(f, x)


@law("m of rows in another order is the rows of m in that order", Level.VALUE)
def order_of_rows_changes_none(draw: Draw) -> Any:
    f = rowwise(draw.model())
    order = draw(st.permutations(range(3)), "order")
    x = _batch(draw, f, len(order))
    return reference(f, _rows(x, order)), _rows(reference(f, x), order)


@law("padding and cutting change nothing: programs for 1 and 4 rows answer for 1 to 9", Level.VALUE)
def padding_changes_nothing(draw: Draw) -> Any:
    f = rowwise(draw.model())
    if not can_be_served(f):
        return None
    count = draw(st.integers(1, 2 * SIZES[-1] + 1), "rows")
    x = _batch(draw, f, count)
    return value_of(served(f).run(leaves_of(x)), f.output), reference(f, x)


BATCH = Suite("batch", (a_batch_is_its_rows, order_of_rows_changes_none, padding_changes_nothing))


def rowwise(model: Model) -> Model:
    """The model where its type says that it works row by row; else ``vmap(model)``, which does."""
    return model if is_rowwise(model) else lm.vmap(model)


def is_rowwise(model: Model) -> bool:
    """Whether one name is the first axis, and no other, of every array in and out."""
    input = model.require_input()
    batch = batch_dimension(input)
    leaves = [leaf for _, leaf in types.leaves((input, model.output or ()))]
    return batch is not None and all(
        leaf.shape[:1] == (batch,) and batch not in types.names(_without_first(leaf))
        for leaf in leaves
    )


def _without_first(leaf: types.ArrayType) -> types.ArrayType:
    return types.ArrayType(leaf.dtype, leaf.shape[1:])


def _batch(draw: Draw, model: Model, count: int) -> Any:
    """An input of so many rows."""
    input = model.require_input()
    sizes = dict.fromkeys(types.names(input), OTHER[0]) | {batch_dimension(input) or "": count}
    return draw(strategies.arrays(input, sizes), "x")


def _rows(value: Any, chosen: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a)[list(chosen)], value)
