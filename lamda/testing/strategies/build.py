"""Building: terms from one type to another, by rules that each aim at a goal.

A rule belongs to a public combinator. For a goal it says how it would reach it, as a function that
makes the model, or that it can not. So what is built is well typed by construction.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import lamda as lm
from lamda import errors
from lamda import types as kinds
from lamda.combinators.typed import typed
from lamda.model import Model
from lamda.testing.strategies.close import closed
from lamda.testing.strategies.goal import like, reaches, shared, unnumbered
from lamda.testing.strategies.primitives import fitting
from lamda.testing.strategies.types import arrays, types
from lamda.types import ArrayType, Type

T = TypeVar("T")
Make = Callable[[], Model]
Rule = Callable[["Builder", Type, Type, int], Make | None]


class Builder:
    """One term in the making: what it may use, and what it has made."""

    def __init__(self, draw: DrawFn, rules: dict[Any, Rule], own: Iterable[Callable]) -> None:
        self.draw_from = draw
        self.rules = rules
        self.own = tuple(own)
        self.made: dict[Any, list[Model]] = {}

    def draw(self, strategy: SearchStrategy[T]) -> T:
        """What a strategy gives."""
        return self.draw_from(strategy)

    def choose(self, *choices: T) -> T:
        """One of several, the simplest first."""
        return choices[self.draw(st.integers(0, len(choices) - 1))]

    def build(self, input: Type, output: Type, size: int) -> Model:
        """A model from exactly one type to another, of at most ``size`` parts."""
        return self.draw(_built(self, input, output, size))

    def ways(self, input: Type, output: Type, size: int) -> list[Make]:
        """What makes such a model, by each of the rules that can; simplest first."""
        single: list[Make] = [lambda: self.leaf(input, output)]
        if size <= 1:
            return single
        usable = [make for rule in self.rules.values() if (make := rule(self, input, output, size))]
        own = [lambda c=c: self.applied(c, input, output, size) for c in self.own]
        return [*single, *usable, *own]

    def several(self, goals: list[tuple[Type, Type]], size: int) -> list[Model]:
        """A model for each goal, which share the parts."""
        made = []
        left = max(size, len(goals))
        for i, (input, output) in enumerate(goals):
            rest = len(goals) - i - 1
            own = self.draw(st.integers(1, left - rest)) if rest else left
            made.append(self.build(input, output, own))
            left -= own
        return made

    def pair(self, one: tuple[Type, Type], two: tuple[Type, Type], size: int) -> list[Model]:
        """A model for each of two goals."""
        return self.several([one, two], size)

    def leaf(self, input: Type, output: Type) -> Model:
        """One part, or a part that stands elsewhere already; for a tree, one for each array."""
        key = kinds.plain(input), kinds.plain(output)
        made = self.made.setdefault(key, [])
        again = [lambda m=m: m for m in made]
        model = self.choose(*self.single(input, output), *wires(input, output), *again)()
        if model.slots and all(model is not other for other in made):
            made.append(model)
        return model

    def single(self, input: Type, output: Type) -> list[Make]:
        """What makes one part for each array that comes out."""
        if not isinstance(output, ArrayType) and output and lm.branch in self.rules:
            return [lambda: self.branched(input, output)]
        first, *others = fitting(input, output)
        if others or isinstance(input, ArrayType):
            return [first, *others]
        near = [(path, leaf) for path, leaf in kinds.leaves(input) if reaches(leaf, output)]
        return [
            lambda path=path, leaf=leaf: at(input) >> lm.pick(*path) >> self.leaf(leaf, output)
            for path, leaf in near
        ] or [first]

    def branched(self, input: Type, output: Any) -> Model:
        """A branch of single parts."""
        if isinstance(output, tuple):
            return lm.branch(*(self.leaf(input, part) for part in output))
        return lm.branch(**{key: self.leaf(input, part) for key, part in output.items()})

    def applied(self, combinator: Callable, input: Type, output: Type, size: int) -> Model:
        """What a user's combinator makes of a model, led to the goal where that can be.

        It is tried on a model of the goal's type, then on models that give what they take; where
        it takes none of them, the last of these is used without it.
        """
        tries = [(input, output), (input, input), (output, output)]
        for taken, given in tries:
            inner = self.draw(closed(self.build(taken, given, size - 1)))
            try:
                led = self.led(combinator(inner), input, output)
            except errors.MismatchError:
                continue
            if led is not None:
                return led
        return self.leaf(input, output)

    def led(self, model: Model, input: Type, output: Type) -> Model | None:
        """A model with what leads to and from it, or nothing where nothing does."""
        taken = input if model.input is None else model.input
        if kinds.names(taken):
            same = kinds.canonical(taken) == kinds.canonical(input)
            taken = input if same else kinds.substitute(taken, dict.fromkeys(kinds.names(taken), 2))
        ready = at(taken) >> model
        before = at(input) if _equal(taken, input) else self.leaf(input, taken)
        whole = before >> ready
        assert whole.output is not None
        if _equal(whole.output, output):
            return whole
        return whole >> self.leaf(whole.output, output) if reaches(whole.output, output) else None

    def middle(self, input: Type, output: Type) -> Type:
        """A type to go through, from which the output can be reached."""
        drawn = like(input, self.draw(types()))
        if not reaches(drawn, output):
            drawn = output
        return self.choose(output, input if reaches(input, output) else output, drawn)

    def value(self, type: Type) -> Any:
        """A value of a type."""
        return jax.tree.map(jnp.asarray, self.draw(arrays(type)))

    def kept(self, input: Type, output: Type, *shape: int) -> ArrayType:
        """A small array type to go through: it has every dimension that must not be lost.

        That is those that the output has, and those that all arrays of the input have.
        """
        dims = dict.fromkeys([*shared(input), *unnumbered(output)])
        return ArrayType("float32", (*dims, *shape))


@st.composite
def _built(draw: DrawFn, builder: Builder, input: Type, output: Type, size: int) -> Model:
    # A strategy of its own, so that Hypothesis sees terms in terms, and shrinks to what is inside.
    ways = builder.ways(input, output, size)
    return ways[draw(st.integers(0, len(ways) - 1))]()


def _equal(left: Type, right: Type) -> bool:
    return kinds.plain(left) == kinds.plain(right)


def at(input: Type) -> Model:
    """The identity at a type."""
    return typed(lm.identity.term, [lm.identity], input)


def wires(input: Type, output: Type) -> list[Make]:
    """The identity where it fits, and the projections."""
    paths = list(_paths(input, output))
    return [lambda path=path: at(input) >> lm.pick(*path) if path else at(input) for path in paths]


def _paths(input: Type, output: Type, path: tuple[str | int, ...] = ()) -> Any:
    if _equal(input, output):
        yield path
    elif isinstance(input, tuple):
        for i, part in enumerate(input):
            yield from _paths(part, output, (*path, i))
    elif not isinstance(input, ArrayType):
        for key in input:
            yield from _paths(input[key], output, (*path, key))
