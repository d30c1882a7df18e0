"""Levels of equality, and what it takes to decide them."""

import jax.numpy as jnp
import numpy as np
import pytest

import lamda as lm
from lamda.testing import Level, Tier, same, ulps
from lamda.testing.level import text

f = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[b, 3]", name="f")
g = lm.lift(lambda w, x: x * w, jnp.float32(3), input="float32[b, 3]", name="g")
h = lm.lift(lambda x: x[:, :2], input="float32[n, 3]", name="h")
x = np.ones((2, 3), np.float32)

PAIRS = {
    "a model and itself": (f, f, set(Level)),
    "with identity": (f >> lm.lift(jnp.tanh), lm.identity >> f >> lm.lift(jnp.tanh), set(Level)),
    "a shared part": (
        f >> (lm.pick(0) if False else lm.branch(g, g)), lm.branch(f >> g, f >> g),
        {Level.ADDRESS, Level.PROGRAM, Level.VALUE, Level.TYPE},
    ),
    "other weights": (f, g, {Level.PROGRAM, Level.TYPE}),
    "other functions": (f, f >> lm.lift(jnp.tanh), {Level.TYPE}),
    "other types": (f, h, set()),
}  # fmt: skip


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("pair", PAIRS)
def test_levels(pair, level):
    left, right, levels = PAIRS[pair]
    why = same(level, left, right, x)
    assert (why == "") is (level in levels), why


def test_names_of_dimensions_are_no_part_of_a_type():
    a, b = (lm.lift(lambda x: x, input=f"float32[{name}]") for name in "nm")
    assert same(Level.TYPE, a, b) == ""


def test_what_is_said_of_values():
    assert same(Level.VALUE, np.float32(1), np.float32(1)) == ""
    assert same(Level.VALUE, (np.int32(1),), (np.float32(1),)).startswith("One side is\n  (int32[]")
    said = same(Level.VALUE, {"a": np.ones(2, "float32")}, {"a": np.ones(2, "float32") * 2})
    assert said.startswith("At ") and "16 are allowed" in said
    assert same(Level.VALUE, np.int32(1), np.int32(2)) != ""


def test_units_in_the_last_place():
    one = np.float32(1)
    assert ulps(one, one) == 0
    assert ulps(one, np.nextafter(one, np.float32(2))) == pytest.approx(1)
    assert ulps(np.float32(np.nan), np.float32(np.nan)) == 0
    assert ulps(np.float32(np.inf), np.float32(np.inf)) == 0
    assert ulps(np.float32(np.inf), one) == np.inf
    assert ulps(np.float32(np.nan), one) == np.inf
    assert ulps(jnp.bfloat16(1), jnp.bfloat16(1.0078125)) == pytest.approx(1, rel=0.01)


def test_a_program_as_text_has_no_weights_in_it():
    assert text(f) == text(g)
    assert "stablehlo" in text(f) and text(f) != text(h)


def test_tiers_are_ordered():
    assert [a.within(b) for a in Tier for b in Tier] == [
        True, True, True, False, True, True, False, False, True,
    ]  # fmt: skip
