"""Combinators: what every function of models obeys, yours too."""

import jax
from hypothesis import reject

import lamda as lm
from lamda import errors
from lamda.model import Model
from lamda.testing.draw import Combinator, Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level, Tier
from lamda.testing.operands import Operands
from lamda.testing.reference import reference
from lamda.testing.strategies.spellings import regroupings
from lamda.testing.suites.typing import require_typed


@law("c(f) leaves f as it was", Level.TERM)
def a_combinator_keeps_its_operand(draw: Draw):
    c, f = taken(draw)
    kept = Operands(f)
    g = c(f)
    kept.require_kept()
    lm.compose(g, draw.after(g))
    kept.require_kept()


@law("c(f) = c(f)", Level.ADDRESS)
def a_combinator_is_a_function(draw: Draw):
    c, f = taken(draw)
    return c(f), c(f)


@law("where f = f', c(f) = c(f')", Level.ADDRESS)
def a_combinator_respects_equality(draw: Draw):
    c, f = taken(draw)
    return c(f), c(draw(regroupings(f), "f'"))


@law("c(succ(f, w)) has the program of c(f), unless c freezes", Level.PROGRAM)
def a_combinator_reads_no_weights(draw: Draw):
    c, f = taken(draw)
    g = c(f)
    if len(_leaves(g)) < len(_leaves(f)):
        return None  # what is frozen has its content in the program
    return g, c(lm.succ(f, draw.weights(f)))


@law("c(named(g, n)) = c(g), whatever models called n were given before", Level.ADDRESS)
def a_combinator_reads_no_names(draw: Draw):
    c, f = taken(draw)
    g = draw.like(f)
    c(lm.named(f, "part"))
    return c(lm.named(g, "part")), c(lm.named(g, "other"))


@law("the value of c(f) has the type that c(f) says", Level.TYPE, Tier.NUMPY)
def a_combinator_gives_what_it_says(draw: Draw):
    c, f = taken(draw)
    g = c(f)
    x = draw.input(g)
    require_typed(g, x, reference(g, x))


def taken(draw: Draw) -> tuple[Combinator, Model]:
    """A combinator, and a model that it takes."""
    c, f = draw.combinator(), draw.model()
    type = f.require_input()
    for g in (lambda: f, lambda: draw.term(type, type, "f")):
        try:
            c(model := g())
        except errors.MismatchError:
            continue
        return c, model
    reject()


def _leaves(model: Model) -> list:
    return jax.tree.leaves(model.weights)


COMBINATOR = Suite(
    "combinator",
    (
        a_combinator_keeps_its_operand,
        a_combinator_is_a_function,
        a_combinator_respects_equality,
        a_combinator_reads_no_weights,
        a_combinator_reads_no_names,
        a_combinator_gives_what_it_says,
    ),
)
