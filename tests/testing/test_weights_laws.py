"""The suites of weights, freezing, surgery and versions hold of the language; lineages."""

from itertools import pairwise

import jax
import jax.numpy as jnp
from hypothesis import find, given, settings
from hypothesis import strategies as st
from parts import dense, rows

import lamda as lm
from lamda.testing.draw import Draw, Subject
from lamda.testing.observe import differentiable, operations, state, tensors, total, traced
from lamda.testing.strategies.lineage import versions
from lamda.testing.weighted import weighted

f, g = dense(4, 4, 0, "f"), dense(4, 2, 1, "g")


# --- lineages ---


@settings(max_examples=10)
@given(versions())
def test_versions_come_one_after_the_other(lineage):
    assert 1 <= len(lineage) <= 4
    assert lm.pred(lineage[0]) is None
    assert all(lm.pred(new) is old for old, new in pairwise(lineage))


def test_versions_are_found_and_are_few():
    start = lm.lift(lambda w, x: w * x, jnp.float32(2), input="float32[]")
    lineage = find(versions(st.just(start)), lambda found: len(found) > 1)
    assert len(lineage) == 2 and lineage[0] is start


# --- what is looked at ---


def test_operations_are_counted_inside_of_what_is_called():
    counts = operations(lambda m, x: (f >> g)(x) + jax.jit(jnp.tanh)(x[:, :2]), f, rows(3, 4))
    assert counts["dot_general"] == 2 and counts["tanh"] == 1 and "jit" not in counts


def test_what_is_traced_is_seen_and_only_meanwhile():
    with traced() as seen:
        jax.jit(lambda x: x * 3 - 1)(jnp.ones(3))
    assert "jaxpr_trace_duration" in seen and "backend_compile_duration" in seen
    count = len(seen)
    jax.jit(lambda x: x * 5 - 1)(jnp.ones(3))
    assert len(seen) == count


def test_tensors_and_totals():
    half = lm.freeze(f) >> g
    assert [(path, trained) for path, _, trained in tensors(half)] == [
        ("f/bias", False), ("f/kernel", False), ("g/bias", True), ("g/kernel", True),
    ]  # fmt: skip
    assert state(half) == state(lm.freeze(f) >> g) != state(f >> g)
    assert total((jnp.ones(3), jnp.ones(2, jnp.int32))) == 3 and total(()) == 0


def test_what_has_a_derivative():
    forever = lm.iterate(f, until=lm.lift(lambda x: (x > 0).all(), name="positive"))
    assert differentiable(f >> g)
    assert not differentiable(f >> lm.branch(forever, f))


@given(st.data())
@settings(max_examples=10)
def test_what_is_weighted_has_weights(data):
    draw = Draw(data, Subject.of(st.sampled_from([f, lm.freeze(f), f >> lm.lift(jnp.tanh)])))
    assert jax.tree.leaves(weighted(draw))
