"""Random parts: what is drawn depends on the key and on the function, not on the spelling."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parts import dense, rows

import lamda as lm


def dropout(x, key=None):
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x * 2, jnp.zeros_like(x))


drop = lm.lift(dropout)
f, g, h = dense(4, 32, 0, "f"), dense(32, 32, 1, "g"), dense(32, 2, 2, "h")
x, KEY = rows(3, 4), jax.random.key(7)
model = f >> drop >> g >> lm.lift(dropout, name="again") >> h


def test_without_a_key_nothing_is_drawn():
    np.testing.assert_array_equal((f >> drop)(x), f(x))
    assert (f >> drop >> g).address == (f >> lm.lift(lambda x: x) >> g).address


def test_with_a_key_the_same_is_drawn_for_ever():
    np.testing.assert_array_equal(model(x, KEY), model(x, KEY))
    assert not np.array_equal(model(x, KEY), model(x, jax.random.key(8)))
    assert not np.array_equal(model(x, KEY), model(x))


SPELLINGS = {
    "right": lm.compose(f, drop >> (g >> (lm.lift(dropout, name="again") >> h))),
    "identities": lm.identity >> f >> lm.identity >> drop >> g >> lm.lift(dropout, name="z") >> h,
    "a branch": lm.branch(model, f) >> lm.pick(0),
    "named": lm.named(f >> drop, "front") >> g >> drop >> h,
    "computed again": f >> lm.remat(drop >> lm.remat(g)) >> lm.lift(dropout, name="z") >> h,
    "remembered": lm.fn(lambda x: h(drop(g(drop(f(x)))))),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_masks_do_not_depend_on_the_spelling(name):
    np.testing.assert_array_equal(SPELLINGS[name](x, KEY), model(x, KEY))


def test_a_shared_part_has_one_mask_and_two_parts_have_two():
    one, two = (f >> drop >> lm.branch(lm.identity, lm.identity))(x, KEY)
    np.testing.assert_array_equal(one, two)
    wide = dense(4, 32, 5, "f")
    one, two = lm.branch(f >> drop, wide >> drop)(x, KEY)
    assert not np.array_equal(one == 0, two == 0)


def test_random_parts_inside_of_controls():
    ones = lm.lift(lambda x: x + 1.0, input="float32[b, 32]")
    looped = lm.iterate(ones >> drop, n=2)
    assert 0 in np.asarray(looped(jnp.ones((3, 32)), KEY))
    np.testing.assert_array_equal(looped(jnp.ones((3, 32))), 3 * np.ones((3, 32)))


def test_training_draws_a_new_mask_at_each_step_and_is_reproducible():
    data = (rows(16, 4), rows(16, 2, 1))

    def run(model):
        return lm.fit(model, data, loss=lambda y, t: ((y - t) ** 2).sum(-1), steps=5, batch=8,
                      optimizer=optax.sgd(0.01), key=KEY, progress=False)  # fmt: skip

    kept = lm.freeze(f)
    one, again, plain = run(kept >> drop >> h), run(kept >> drop >> h), run(kept >> h)
    assert one.address == again.address != plain.address
    assert one.receipt.address == again.receipt.address
    same = run(kept >> lm.lift(lambda x: x) >> h)  # without a key they are one function
    assert one.receipt.model == same.receipt.model and one.address != same.address
    assert one.receipt.address != same.receipt.address


def test_a_random_part_that_captures_an_array_is_refused():
    table = jnp.arange(4.0)

    def noisy(x, key=None):
        return x + table

    with pytest.raises(lm.ImpureError, match="noisy captures an array and takes a key"):
        lm.lift(noisy, input="float32[b, 4]")
