"""Control: choices and loops are what one would write out by hand.

A law of meaning has two left sides: the reference meaning of the control, and the control as the
library runs it, with the reference meaning of its bodies. The right side is the loop, written out.
"""

from functools import partial
from typing import Any

import jax
import jax.core
import numpy as np
from hypothesis import strategies as st

import lamda as lm
from lamda.model import Model
from lamda.term import Control, Lift, Term, interpret
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level
from lamda.testing.reference import reference
from lamda.testing.suites.cartesian import endo
from lamda.testing.suites.category import identity_at
from lamda.types import ArrayType

TRUTH = ArrayType("bool", ())

# --- choices ---


@law("cond(p, f, g)(x) is f(x) where p(x) holds, and g(x) where not", Level.VALUE)
def cond_means_if(draw: Draw):
    f = draw.model()
    p, g = draw.term(f.require_input(), TRUTH, "p"), draw.like(f)
    x = draw.input(f)
    return both(lm.cond(p, f, g), x, reference(f if reference(p, x) else g, x))


@law("switch(i, fs)(x) is fs[i(x)](x), where i is clamped into range", Level.VALUE)
def switch_means_choosing(draw: Draw):
    f = draw.model()
    fs = [f, *(draw.like(f) for _ in range(draw(st.integers(0, 2), "more")))]
    i = draw(st.integers(-2, len(fs) + 1), "i")
    x = draw.input(f)
    chosen = fs[min(max(i, 0), len(fs) - 1)]
    return both(lm.switch(lm.const(np.int32(i)), fs), x, reference(chosen, x))


@law("cond(p, f, g) = switch(p, [g, f])", Level.ADDRESS)
def cond_is_a_switch(draw: Draw):
    f = draw.model()
    p, g = draw.term(f.require_input(), TRUTH, "p"), draw.like(f)
    return lm.cond(p, f, g), lm.switch(p, [g, f])


@law("h >> cond(p, f, g) = cond(h >> p, h >> f, h >> g)", Level.VALUE)
def what_comes_before_a_choice(draw: Draw):
    h = draw.model("h")
    f = draw.after(h, "f")
    p, g = draw.term(f.require_input(), TRUTH, "p"), draw.like(f)
    return h >> lm.cond(p, f, g), lm.cond(h >> p, h >> f, h >> g)


# --- loops ---


@law("iterate(f, n=n)(x) is f(f(... x)), n times", Level.VALUE)
def iterate_means_again_and_again(draw: Draw):
    f, n = endo(draw), draw(st.integers(0, 3), "n")
    x = value = draw.input(f)
    for _ in range(n):
        value = reference(f, value)
    model = lm.iterate(f, n=n)
    return both(model, x, value) if n else (reference(model, x), value)  # jax steps through no 0


@law("iterate(f, n=n) = repeat(f, n)", Level.VALUE)
def iterating_is_repeating(draw: Draw):
    f, n = endo(draw), draw(st.integers(1, 3), "n")
    return lm.iterate(f, n=n), lm.repeat(f, n)


@law("repeat(f, m) >> repeat(f, n) = repeat(f, m + n)", Level.TERM)
def repeating_adds(draw: Draw):
    f, m, n = endo(draw), draw(st.integers(0, 3), "m"), draw(st.integers(0, 3), "n")
    return lm.repeat(f, m) >> lm.repeat(f, n), lm.repeat(f, m + n)


@law("iterate(f, until=p)(x) is the first of x, f(x), f(f(x)), ... where p holds", Level.VALUE)
def until_means_the_first_that_holds(draw: Draw):
    f = endo(draw)
    body, done = lm.parallel(ONE_LESS, f), lm.pick(0) >> AT_MOST_ZERO
    left = np.int32(draw(st.integers(-1, 3), "rounds"))
    x = value = (left, draw.input(f))
    while not reference(identity_at(body.require_input()) >> done, value):
        value = reference(body, value)
    return both(lm.iterate(body, until=done), x, value)


@law("scan(f)((s, xs)) is (s, ys) after (s, y) = f((s, x)) for each x, in order", Level.VALUE)
def scan_means_one_after_the_other(draw: Draw):
    taken = draw.model().require_input()
    step = draw.term((taken, taken), taken, "s") & draw.term((taken, taken), None, "y")
    model = lm.scan(step)
    x = draw.input(model)
    state, ys = x[0], []
    for each in elements(x[1]):
        state, y = reference(step, (state, each))
        ys.append(y)
    return both(model, x, (state, stacked(ys)))


@law("vmap(f)(xs) is f(x) for each x of xs", Level.VALUE)
def vmap_means_each(draw: Draw):
    f = draw.model()
    model = lm.vmap(f)
    xs = draw.input(model, "xs")
    return both(model, xs, stacked([reference(f, x) for x in elements(xs)]))


@law("vmap(f >> g) = vmap(f) >> vmap(g)", Level.VALUE)
def vmap_distributes(draw: Draw):
    f = draw.model()
    g = draw.after(f)
    return lm.vmap(f >> g), lm.vmap(f) >> lm.vmap(g)


@law("remat(f) = f", Level.ADDRESS)
def remat_leaves_no_trace(draw: Draw):
    f = draw.model()
    g = draw.after(f)
    return lm.remat(lm.remat(f) >> g), f >> g


# --- the two sides ---

ONE_LESS = lm.lift(lambda k: k - 1, input="int32[]", name="one_less")
AT_MOST_ZERO = lm.lift(lambda k: k <= 0, name="at_most_zero")


def both(model: Model, x: Any, expected: Any) -> tuple[Any, Any]:
    """The two left sides of a law of meaning, and what both must be."""
    return (reference(model, x), stepped(model, x)), (expected, expected)


def stepped(model: Model, x: Any) -> Any:
    """The value at ``x``, where a control runs as the library runs it, step by step.

    Its bodies mean what the reference says; where it maps over them, what the library says.
    """

    def apply(leaf: Lift | Control, value: Any) -> Any:
        if isinstance(leaf, Lift):
            return meaning(leaf, value)
        with jax.disable_jit():
            return leaf.kind.run([partial(body, each) for each in leaf.bodies], value)

    def body(term: Term, value: Any) -> Any:
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))
        return interpret(term, library, value) if traced else meaning(term, value)

    def meaning(term: Term, value: Any) -> Any:
        return reference(Model(term, model.environment, None, None, where=model.where), value)

    def library(leaf: Lift | Control, value: Any) -> Any:
        if isinstance(leaf, Lift):
            own = () if leaf.slot is None else model.environment[leaf.slot].arrays
            return leaf.function.call(own, value)
        with jax.disable_jit(False):
            return leaf.kind.run([partial(body, each) for each in leaf.bodies], value)

    return interpret(model.term, apply, x)


def elements(tree: Any) -> list[Any]:
    """The elements of the arrays of a tree along their first axis."""
    leaves, structure = jax.tree.flatten(tree)
    count = len(leaves[0]) if leaves else 0
    return [jax.tree.unflatten(structure, [leaf[i] for leaf in leaves]) for i in range(count)]


def stacked(trees: list[Any]) -> Any:
    """One tree, whose arrays have what several have along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(v) for v in leaves]), *trees)


CONTROL = Suite(
    "control",
    (
        cond_means_if,
        switch_means_choosing,
        cond_is_a_switch,
        what_comes_before_a_choice,
        iterate_means_again_and_again,
        iterating_is_repeating,
        repeating_adds,
        until_means_the_first_that_holds,
        scan_means_one_after_the_other,
        vmap_means_each,
        vmap_distributes,
        remat_leaves_no_trace,
    ),
)
