"""The reference meaning is what models compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts import dense, rows

import lamda as lm
from lamda.testing import parts, strategies
from lamda.testing.level import Level, same
from lamda.testing.reference import reference

MANY = settings(max_examples=40, database=None, suppress_health_check=list(HealthCheck))


def test_it_is_what_models_compute():
    drawn = []

    @MANY
    @given(st.data())
    def collect(data):
        model = data.draw(strategies.models())
        x = data.draw(strategies.inputs(model))
        drawn.append((model, x, reference(model, x)))

    collect()
    compiled = jax.jit(lambda xs: [m(x) for (m, _, _), x in zip(drawn, xs, strict=True)])
    for (model, _, value), found in zip(drawn, compiled([x for _, x, _ in drawn]), strict=True):
        assert same(Level.VALUE, found, value) == "", model


def test_functions_without_a_meaning_in_numpy_are_called():
    model = dense(4, 3) >> lm.lift(jnp.sin)
    np.testing.assert_allclose(reference(model, rows(2, 4)), model(rows(2, 4)), rtol=1e-6)
    assert isinstance(reference(model, rows(2, 4)), np.ndarray)


def test_an_index_out_of_range_is_clamped():
    pair = ("int32[]", "float32[]")
    model = lm.identity.init(jax.random.key(0), pair) >> lm.switch(
        lm.pick(0), [lm.pick(1), lm.pick(1) >> lm.lift(parts.double)]
    )
    values = [reference(model, (np.int32(i), np.float32(3))).item() for i in (-5, 0, 1, 9)]
    assert values == [3, 3, 6, 6]


def test_open_models_have_no_value():
    with pytest.raises(lm.OpenError):
        reference(parts.open(parts.scale, "float32[]"), np.float32(1))


def test_a_loop_that_stops():
    below = lm.lift(parts.positive, input="float32[]")
    model = lm.iterate(lm.lift(parts.increment, input="float32[]"), until=below)
    assert reference(model, np.float32(-3)).item() == 1


def test_infinity_is_a_value():
    square = lm.multiply(lm.identity, lm.identity)
    model = lm.identity.init(jax.random.key(0), "float16[2]") >> square >> square
    assert np.isinf(reference(model, jnp.full(2, 300, jnp.float16))).all()
