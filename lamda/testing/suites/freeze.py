"""Freezing: what training does not see is not there, and nobody else notices."""

import jax
from hypothesis import strategies as st

import lamda as lm
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level
from lamda.testing.observe import (
    differentiable,
    equal,
    leaves,
    operations,
    state,
    tensors,
    total,
    trained,
)
from lamda.testing.weighted import weighted


@law("freeze(f) = f", Level.ADDRESS)
def freezing_leaves_the_function_as_it_was(draw: Draw):
    f = weighted(draw)
    return lm.freeze(f), f


@law("freeze(f)(x) = f(x)", Level.VALUE)
def freezing_leaves_the_numbers_as_they_were(draw: Draw):
    f = weighted(draw)
    return lm.freeze(f), f


@law("freeze(freeze(f)) = freeze(f)", Level.TERM)
def freezing_twice_is_freezing(draw: Draw):
    f = weighted(draw)
    return lm.freeze(lm.freeze(f)), lm.freeze(f)


@law("freeze(f >> g) = freeze(f) >> freeze(g)", Level.TERM)
def freezing_a_composition_freezes_its_parts(draw: Draw):
    f = weighted(draw)
    g = draw.after(f)
    return lm.freeze(f >> g), lm.freeze(f) >> lm.freeze(g)


@law("freeze(f) >> g has the weights of g", Level.TERM)
def frozen_weights_are_absent(draw: Draw):
    f = weighted(draw)
    g = draw.after(f)
    half = lm.freeze(f) >> g
    equal("trained weights", trained(half), trained(g))
    equal("leaves of the pytree", leaves(half), leaves(g))
    equal("leaves of .weights", len(jax.tree.leaves(half.weights)), leaves(g))
    equal("leaves of what is all frozen", leaves(lm.freeze(half)), 0)


@law("the gradient of freeze(f) >> g has no operation that it would not have were f a constant",
     Level.PROGRAM)  # fmt: skip
def no_gradient_of_what_is_frozen_is_computed(draw: Draw):
    f = weighted(draw)
    g = draw.after(f)
    if not differentiable(g):
        return
    x = draw.input(f)
    ours = operations(lambda m, x: jax.grad(lambda m: total(m(x)))(m), lm.freeze(f) >> g, x)

    def constant(f: lm.Model, g: lm.Model, x):
        y = f(x)
        return jax.grad(lambda g: total(g(y)))(g)

    theirs = operations(constant, f, g, x)
    equal("operations too many", dict(ours - theirs), {})


@law("training freeze(f) >> g leaves the bits of f", Level.TERM)
def training_leaves_what_is_frozen(draw: Draw):
    f = weighted(draw)
    m = lm.freeze(f) >> draw.after(f)
    gradient = draw.weights(m)  # whatever it may be
    step = jax.tree.map(lambda w, d: w - w.dtype.type(0.5) * d, m.weights, gradient)
    equal("frozen weights of m.replace_weights", _frozen(m.replace_weights(step)), _frozen(m))
    equal("frozen weights of succ", _frozen(lm.succ(m, step)), _frozen(m))
    equal("frozen weights of the pytree", _frozen(jax.tree.map(lambda w: w * 2, m)), _frozen(m))


def _frozen(model: lm.Model) -> list[tuple[str, str]]:
    return [(path, digest) for path, digest, trained in tensors(model) if not trained]


@law("freeze(f) >> g leaves f >> g and f as they were", Level.TERM)
def freezing_in_one_model_changes_no_other(draw: Draw):
    f = weighted(draw)
    m = f >> draw.after(f)
    before = state(f), state(m)
    lm.compose(lm.freeze(f), draw.after(f, "h"))
    lm.freeze(m)
    lm.select(m, "**").apply(lm.freeze)
    equal("a model has changed", (state(f), state(m)), before)
    equal("leaves of f & freeze(f)", leaves(lm.branch(f, lm.freeze(f))), leaves(f))


@law("freeze(f) & freeze(g) = freeze(f) & freeze(f), where f and g have equal weights",
     Level.PROGRAM)  # fmt: skip
def frozen_parts_of_equal_content_are_one(draw: Draw):
    f = weighted(draw)
    other = lm.freeze(lm.fresh(f))
    one, two = lm.branch(lm.freeze(f), lm.freeze(f)), lm.branch(lm.freeze(f), other)
    equal("the programs differ", two.program == one.program, True)
    return two, one


@law("what is frozen of freeze(m, p) are the weights at p", Level.TERM)
def freezing_a_part_freezes_no_other(draw: Draw):
    f = weighted(draw)
    g = draw.after(f)
    m = lm.named(f, "front") >> lm.named(g, "back")
    front = draw(st.booleans(), "front")
    half = lm.freeze(m, "front" if front else "back")
    equal("trained weights", trained(half), trained(g if front else f))
    return half, lm.named(lm.freeze(f) if front else f, "front") >> lm.named(
        g if front else lm.freeze(g), "back"
    )


FREEZE = Suite(
    "freeze",
    (
        freezing_leaves_the_function_as_it_was,
        freezing_leaves_the_numbers_as_they_were,
        freezing_twice_is_freezing,
        freezing_a_composition_freezes_its_parts,
        frozen_weights_are_absent,
        no_gradient_of_what_is_frozen_is_computed,
        training_leaves_what_is_frozen,
        freezing_in_one_model_changes_no_other,
        frozen_parts_of_equal_content_are_one,
        freezing_a_part_freezes_no_other,
    ),
)
