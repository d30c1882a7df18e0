"""Merging: lineages that parted are added, and what is common to them counts once."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis.strategies import integers

import lamda as lm
from lamda.model import Model
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level
from lamda.testing.observe import equal, state
from lamda.testing.suites.versions import VERSIONS
from lamda.testing.weighted import weighted


@law("merge(succ(b, w), b) = succ(b, w)", Level.ADDRESS)
def merging_what_came_before_changes_nothing(draw: Draw):
    b = weighted(draw)
    m = lm.succ(b, draw.weights(b))
    return lm.merge(m, b), m


@law("merge(b, succ(b, w)) = succ(b, w)", Level.ADDRESS)
def merging_what_comes_after_is_going_there(draw: Draw):
    b = weighted(draw)
    m = lm.succ(b, draw.weights(b))
    return lm.merge(b, m), m


@law("merge(m, m) = m", Level.ADDRESS)
def merging_is_idempotent(draw: Draw):
    b = weighted(draw)
    m = lm.succ(b, draw.weights(b))
    return lm.merge(m, lm.succ(b, m.weights)), m


@law("merge(m, n) = merge(n, m)", Level.ADDRESS)
def merging_commutes(draw: Draw):
    b, m, n = parted(draw)
    return lm.merge(m, n, base=b), lm.merge(n, m, base=b)


@law("merge(m, n, scale=s) has the weights m + s * (n - b)", Level.VALUE)
def merging_adds_what_was_changed(draw: Draw):
    b, m, n = parted(draw)
    s = draw(integers(-2, 2), "scale")
    merged = lm.merge(m, n, base=b, scale=s)
    leaves = zip(*(jax.tree.leaves(each.weights) for each in (b, m, n)), strict=True)
    wanted = tuple(added(base, one, other, s) for base, one, other in leaves)
    return tuple(jax.tree.leaves(merged.weights)), wanted


@law("pred(merge(m, n)) is m, of the program of m, and no operand changes", Level.PROGRAM)
def merging_is_succession(draw: Draw):
    b, m, n = parted(draw)
    before = [state(each) for each in (b, m, n)]
    merged = lm.merge(m, n, base=b)
    equal("an operand has changed", [state(each) for each in (b, m, n)], before)
    equal("the predecessor is not the model itself", lm.pred(merged) is m, True)
    return merged, m


@law("merge(succ^m(zero), succ^n(zero), base=zero) = succ^(m + n)(zero)", Level.ADDRESS)
def merging_numerals_adds_them(draw: Draw):
    zero = lm.lift(lambda n, x: x + n, jnp.float32(0), input="float32[]", name="zero")

    def number(count: int) -> Model:
        found = zero
        for _ in range(count):
            found = lm.succ(found, found.weights + 1)
        return found

    m, n = draw(integers(0, 4), "m"), draw(integers(0, 4), "n")
    return lm.merge(number(m), number(n), base=zero), number(m + n)


def parted(draw: Draw) -> tuple[Model, Model, Model]:
    """A version and two that come from it."""
    b = weighted(draw)
    return b, lm.succ(b, draw.weights(b)), lm.succ(b, draw.weights(b))


def added(base: jax.Array, one: jax.Array, other: jax.Array, scale: int) -> np.ndarray:
    """What the definition says."""
    wide = np.complex128 if jnp.iscomplexobj(base) else np.float64
    b, m, n = (np.asarray(each).astype(wide) for each in (base, one, other))
    return (m + scale * (n - b)).astype(base.dtype)


MERGE = Suite(
    "merge",
    (
        merging_what_came_before_changes_nothing,
        merging_what_comes_after_is_going_there,
        merging_is_idempotent,
        merging_commutes,
        merging_adds_what_was_changed,
        merging_is_succession,
        merging_numerals_adds_them,
    ),
    (VERSIONS,),
)
