"""Terms and models: compositions, well typed by construction."""

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import lamda as lm
from lamda.model import Model
from lamda.testing.strategies.build import Builder, at
from lamda.testing.strategies.close import closed
from lamda.testing.strategies.goal import goal
from lamda.testing.strategies.rules import RULES
from lamda.types import Type

Combinator = Callable[[Model], Model]


def terms(
    input: Any = None,
    output: Any = None,
    *,
    size: int = 6,
    within: Iterable[Any] | None = None,
) -> SearchStrategy[Model]:
    """A composition from ``input`` to ``output``, of at most ``size`` parts; maybe open.

    The types are any, where none are given. ``within`` says which combinators of the language it
    may use (and to compose); a function of yours among them, that takes a model and gives one, is
    used at the top. Where the dimension of rows, ``"b"``, is in every array that goes in and comes
    out, each row that comes out depends on its row that goes in, and on no other.
    """
    chosen = None if within is None else tuple(within)
    return _terms(goal(input, output), size, chosen)


def models(
    input: Any = None,
    output: Any = None,
    *,
    size: int = 6,
    within: Iterable[Any] | None = None,
) -> SearchStrategy[Model]:
    """A closed composition: one of :func:`terms` with drawn weights."""
    return terms(input, output, size=size, within=within).flatmap(closed)


def given(model: Model) -> Type:
    """The type of what a model gives."""
    model.require_input()
    assert model.output is not None
    return model.output


@st.composite
def _terms(
    draw: DrawFn,
    goals: SearchStrategy[tuple[Type, Type]],
    size: int,
    within: tuple[Any, ...] | None,
) -> Model:
    taken, given = draw(goals)
    own = [c for c in within or () if c not in RULES]
    usable = {c: r for c, r in RULES.items() if within is None or c in within or c is lm.compose}
    builder = Builder(draw, usable, own)
    if own and size > 1:
        made = builder.applied(builder.choose(*own), taken, given, size)
    else:
        made = builder.build(taken, given, size)
    return at(taken) >> made


def combinators() -> SearchStrategy[Combinator]:
    """A combinator of the language that takes any model and gives one of the same type."""
    return st.sampled_from((lm.fresh, lm.freeze, lm.remat, called, first_of_two, bracketed))


def called(f: Model) -> Model:
    """``named(f, "part")``."""
    return lm.named(f, "part")


def first_of_two(f: Model) -> Model:
    """``branch(f, f) >> pick(0)``."""
    return lm.branch(f, f) >> lm.pick(0)


def bracketed(f: Model) -> Model:
    """``identity >> f >> identity``."""
    return lm.identity >> f >> lm.identity
