"""Weights: brackets leave no trace in them, and what is one part has one."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from hypothesis import strategies as st

import lamda as lm
from lamda.model import Model
from lamda.testing import strategies
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level, Tier
from lamda.testing.observe import differentiable, equal, leaves, paths, total
from lamda.testing.reference import reference
from lamda.testing.weighted import weighted
from lamda.types import names, structs, substitute


def spelled(draw: Draw, parts: Sequence[Model]) -> Model:
    """The composition of several parts, in drawn brackets, with identities between."""
    made = list(parts)
    while len(made) > 1:
        at = draw(st.integers(0, len(made) - 2), "bracket")
        right = lm.identity >> made[at + 1] if draw(st.booleans()) else made[at + 1]
        made[at : at + 2] = [made[at] >> right]
    return made[0]


def architectures(draw: Draw, count: int) -> list[Model]:
    """Terms that fit one after the other, whose weights are missing."""
    combinator = draw.subject.combinator
    within = None if combinator is None else [combinator]
    parts: list[Model] = []
    for _ in range(count):
        input = strategies.given(parts[-1]) if parts else None
        parts.append(draw(strategies.terms(input, size=3, within=within)))
    return parts


def dropout(x: Any, key: jax.Array | None = None) -> Any:
    """Half of the numbers, where there is a key."""
    if key is None:
        return x
    flat, structure = jax.tree.flatten(x)
    keys = [jax.random.fold_in(key, place) for place in range(len(flat))]
    kept = [jax.random.bernoulli(k, 0.5, v.shape) for k, v in zip(keys, flat, strict=True)]
    dropped = [jnp.where(m, v, jnp.zeros_like(v)) for m, v in zip(kept, flat, strict=True)]
    return jax.tree.unflatten(structure, dropped)


DROP = lm.lift(dropout)


def initial(term: Model) -> str:
    """The program that makes the initial weights of a term of any key."""
    made = jax.make_jaxpr(lambda key: term.init(key).weights, return_shape=True)
    jaxpr, shape = made(jax.random.key(0))
    return f"{jaxpr} {shape}"


def drawing(model: Model) -> str:
    """The program of a model at any input and key: where it draws what."""
    input = model.require_input()
    fixed = substitute(input, dict.fromkeys(names(input), 2))
    return str(jax.make_jaxpr(lambda x, key: model(x, key))(structs(fixed), jax.random.key(0)))


@law("m.replace_weights(m.weights) = m", Level.ADDRESS)
def weights_go_back_where_they_came_from(draw: Draw):
    f = weighted(draw)
    g = weighted(draw, draw.beside(f))
    m = lm.branch(z=f, a=g)  # trees of JAX sort their keys, and terms do not
    return m.replace_weights(m.weights), m


@law("m.replace_weights(w).weights = w", Level.ADDRESS)
def weights_come_out_as_they_were_put_in(draw: Draw):
    m = weighted(draw)
    w = draw.weights(m)
    got = m.replace_weights(w).weights
    equal("the trees differ", jax.tree.structure(got), jax.tree.structure(w))
    same = [bool((a == b).all()) for a, b in zip(*map(jax.tree.leaves, (got, w)), strict=True)]
    equal("a tensor differs", same, [True] * len(same))


@law("m.apply(m.weights, x) = m(x)", Level.VALUE)
def weights_are_arguments(draw: Draw):
    m = weighted(draw)
    x = draw.input(m)
    return reference(m.replace_weights(m.weights), x), reference(m, x)


@law("f >> (g >> h) has the weight names of (f >> g) >> h", Level.TERM)
def names_do_not_depend_on_brackets(draw: Draw):
    parts = architectures(draw, 3)
    one, other = lm.compose(*parts), spelled(draw, parts)
    equal("the names differ", paths(other), paths(one))


@law("init(f >> (g >> h), key) = init((f >> g) >> h, key)", Level.ADDRESS)
def initial_weights_do_not_depend_on_brackets(draw: Draw):
    parts = architectures(draw, 3)
    one, other = lm.compose(*parts), spelled(draw, parts)
    equal("the initial weights differ", initial(other), initial(one))


@law("init(f >> g >> h, key)[:-1] = init(f >> g, key), where h has weights", Level.ADDRESS)
def initial_weights_do_not_depend_on_what_follows(draw: Draw):
    front = lm.compose(*architectures(draw, 2))
    if len(front) < 2:
        return
    whole = front >> draw.term(strategies.given(front), label="h")
    count = len(front)

    def cut(key: jax.Array) -> Any:
        return whole.init(key)[:count].weights

    jaxpr, shape = jax.make_jaxpr(cut, return_shape=True)(jax.random.key(0))
    equal("the initial weights differ", f"{jaxpr} {shape}", initial(front))


@law("m(x, key) draws the same, however m is spelled", Level.VALUE, Tier.ABSTRACT)
def masks_do_not_depend_on_the_spelling(draw: Draw):
    f = weighted(draw)
    g = draw.after(f)
    parts = [f, DROP, g, DROP]
    one, other = lm.compose(*parts), spelled(draw, parts)
    if draw(st.booleans(), "beside another"):
        other = lm.branch(lm.named(f >> DROP, "front") >> DROP, other) >> lm.pick(1)
    equal("the masks differ", drawing(other), drawing(one))


@law("f & f has the weights of f", Level.TERM)
def a_part_used_twice_has_one_weight(draw: Draw):
    f = weighted(draw)
    equal("leaves", leaves(lm.branch(f, f)), leaves(f))
    equal("leaves, regrouped", leaves(lm.branch(f, lm.identity >> lm.branch(f, f))), leaves(f))


@law("succ(f & f, w) >> pick(0) = succ(f & f, w) >> pick(1)", Level.TERM)
def tied_parts_stay_tied_when_trained(draw: Draw):
    f = weighted(draw)
    twice = lm.branch(f, f)
    new = lm.succ(twice, draw.weights(twice))
    equal("leaves of the successor", leaves(new), leaves(f))
    equal("the program has changed", new.program == twice.program, True)
    return new["0"], new["1"]


@law("d(f @ f) = d1(f @ fresh(f)) + d2(f @ fresh(f)), by the weights", Level.VALUE, Tier.XLA)
def the_gradient_of_a_tied_part_is_the_sum_over_its_uses(draw: Draw):
    f = weighted(draw)
    if not differentiable(f) or not leaves(f):
        return None
    x = jax.tree.map(jnp.asarray, (draw.input(f), draw.input(f, "y")))

    def gradient(m: Model) -> list[Any]:
        with jax.disable_jit():  # operation by operation: nothing whole is compiled
            return jax.tree.leaves(jax.grad(lambda m: total(m(x)))(m))

    tied, apart = gradient(lm.parallel(f, f)), gradient(lm.parallel(f, lm.fresh(f)))
    equal("leaves", len(apart), 2 * len(tied))
    uses = zip(apart[: len(tied)], apart[len(tied) :], strict=True)
    return tuple(tied), tuple(a + b for a, b in uses)


@law("fresh(f) = f", Level.ADDRESS)
def what_is_fresh_is_the_same_function(draw: Draw):
    f = weighted(draw)
    return lm.fresh(f), f


@law("f & fresh(f) runs what is trained twice", Level.PROGRAM)
def what_is_fresh_is_trained_apart(draw: Draw):
    f = weighted(draw)
    _require_apart(f, lm.fresh(f))


@law("f & g runs both, where g is made apart and has equal weights", Level.PROGRAM)
def parts_made_separately_are_two_however_equal(draw: Draw):
    f = weighted(draw)
    g = lm.succ(f, jax.tree.map(lambda w: w.copy(), f.weights))
    _require_apart(f, g)
    return None


def _require_apart(f: Model, g: Model) -> None:
    """Raises LawError unless all that is trained of ``f`` is there twice in a branch of both."""
    slots = f.program.slots
    twice = [s for s in slots if not s.frozen and any(t.floating for t in f.environment[s].tensors)]
    both = lm.branch(f, g)
    equal("weights in the program", len(both.program.slots), len(slots) + len(twice))
    equal("leaves", leaves(both), 2 * leaves(f))
    equal("the addresses differ", both.address, lm.branch(f, f).address)


WEIGHTS = Suite(
    "weights",
    (
        weights_go_back_where_they_came_from,
        weights_come_out_as_they_were_put_in,
        weights_are_arguments,
        names_do_not_depend_on_brackets,
        initial_weights_do_not_depend_on_brackets,
        initial_weights_do_not_depend_on_what_follows,
        masks_do_not_depend_on_the_spelling,
        a_part_used_twice_has_one_weight,
        tied_parts_stay_tied_when_trained,
        the_gradient_of_a_tied_part_is_the_sum_over_its_uses,
        what_is_fresh_is_the_same_function,
        what_is_fresh_is_trained_apart,
        parts_made_separately_are_two_however_equal,
    ),
)
