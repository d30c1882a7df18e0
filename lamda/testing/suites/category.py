"""Composition: brackets and identities leave no trace, and operands stay as they are."""

from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st

import lamda as lm
from lamda import errors, evaluate, types
from lamda.model import Model
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, broken, law
from lamda.testing.level import Level
from lamda.testing.operands import Operands
from lamda.types import Type


@law("f >> (g >> h) = (f >> g) >> h", Level.TERM)
def composing_is_associative(draw: Draw):
    f, g, h = chain(draw, 3)
    return f >> (g >> h), (f >> g) >> h


@law("any brackets of f1 >> ... >> fn = compose(f1, ..., fn)", Level.TERM)
def regrouping_leaves_no_trace(draw: Draw):
    parts = chain(draw, draw(st.integers(2, 5), "n"))
    return bracketed(draw, parts), lm.compose(*parts)


@law("identity >> f = f", Level.TERM)
def identity_before(draw: Draw):
    f = draw.model()
    return lm.identity >> f, f


@law("f >> identity = f", Level.TERM)
def identity_after(draw: Draw):
    f = draw.model()
    return f >> lm.identity, f


@law("compose(f, identity, g) = compose(f, g)", Level.TERM)
def identity_between(draw: Draw):
    f, g = chain(draw, 2)
    return lm.compose(f, lm.identity, g), lm.compose(f, g)


@law("branch(f) >> identity = branch(f): a tuple of one stays a tuple", Level.TERM)
def identity_after_a_tuple_of_one(draw: Draw):
    f = draw.model()
    return lm.branch(f) >> lm.identity, lm.branch(f)


@law("identity(x) is x, to the bit and to the tuple", Level.VALUE)
def identity_gives_what_it_is_given(draw: Draw):
    x = draw.input(draw.model())
    for value in (x, (x,), {"x": (x,)}):
        graph = lm.identity.program_at(types.typeof(value))
        given = evaluate.run(graph, [], value)
        if _whole(given) != _whole(value):
            raise broken(errors.SIDES.format(left=given, right=value))


@law("composing leaves operands as they were, and gives none of them back", Level.TERM)
def composing_keeps_its_operands(draw: Draw):
    f, g = chain(draw, 2)
    h = draw.after(g, "h")
    both, join = f >> g, draw(st.sampled_from([lm.branch, lm.parallel]), "join")
    beside = join(f, f)
    kept = Operands(f, g, h, both, beside)
    kept.require_kept(both >> h, lm.compose(f, g, h), join(beside, f), join(f, both), f @ g)


@law("m[:i] >> m[i:] = m", Level.ADDRESS)
def slices_compose_back(draw: Draw):
    m = bracketed(draw, chain(draw, 3))
    i = draw(st.integers(0, len(m)), "i")
    return identity_at(m.require_input()) >> m[:i] >> m[i:], m


@law("compose(*m) = m", Level.ADDRESS)
def parts_compose_back(draw: Draw):
    m = bracketed(draw, chain(draw, 3))
    return lm.compose(identity_at(m.require_input()), *m), m


def chain(draw: Draw, length: int) -> list[Model]:
    """Models of which each takes what the one before gives; the first is of the subject."""
    parts = [draw.model()]
    for number in range(1, length):
        parts.append(draw.after(parts[-1], "fghklmn"[number]))
    return parts


def bracketed(draw: Draw, parts: list[Model]) -> Model:
    """The composition of some models in brackets of any kind, with identities anywhere."""
    if len(parts) == 1:
        return parts[0]
    at = draw(st.integers(1, len(parts) - 1), "brackets")
    between = [lm.identity] * draw(st.integers(0, 1), "identities")
    return lm.compose(bracketed(draw, parts[:at]), *between, bracketed(draw, parts[at:]))


def identity_at(type: Type) -> Model:
    """The identity of values of one type."""
    return lm.identity.derive(lm.identity.term, {}, input=type, output=type)


def _whole(value: Any) -> Any:
    leaves, structure = jax.tree.flatten(value)
    return structure, [(leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()) for leaf in leaves]


CATEGORY = Suite(
    "category",
    (
        composing_is_associative,
        regrouping_leaves_no_trace,
        identity_before,
        identity_after,
        identity_between,
        identity_after_a_tuple_of_one,
        identity_gives_what_it_is_given,
        composing_keeps_its_operands,
        slices_compose_back,
        parts_compose_back,
    ),
)
