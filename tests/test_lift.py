"""Lifting: functions, Flax modules, captured arrays, and what is refused."""

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parts import rows

import lamda as lm

x = rows(3, 4)


def test_a_function_of_x():
    part = lm.lift(jnp.tanh, input="float32[b, 4]")
    np.testing.assert_array_equal(part(x), jnp.tanh(x))
    assert repr(part) == "<tanh: float32[b, 4] -> float32[b, 4]>"
    assert part.weights == {}


def test_a_function_of_weights_and_x():
    part = lm.lift(lambda w, x: x @ w[0], [jnp.ones((4, 2))], input="float32[b, 4]", name="sum")
    assert part(x).shape == (3, 2)
    assert repr(part) == "<sum: float32[b, 4] -> float32[b, 2]>"


def test_the_type_may_be_an_example_or_a_tree():
    part = lm.lift(lambda x: x["a"] + x["b"][0], input={"a": x, "b": (jnp.float32(1),)})
    assert lm.types.show(part.input) == "{a: float32[3, 4], b: (float32[],)}"
    np.testing.assert_array_equal(part({"a": x, "b": (jnp.float32(1),)}), x + 1)


def test_captured_arrays_become_weights():
    table = {"deep": [jnp.arange(4.0)]}

    def shifted(x):
        return x + table["deep"][0][None]

    part = lm.lift(shifted, input="float32[b, 4]")
    assert [w.tolist() for w in jax.tree.leaves(part)] == [[0, 1, 2, 3]]
    np.testing.assert_array_equal(part(x), shifted(x))
    moved = lm.succ(part, jax.tree.map(lambda w: w + 1, part.weights))
    np.testing.assert_array_equal(moved(x), shifted(x) + 1)
    np.testing.assert_array_equal(jax.jit(part)(x[:2]), shifted(x[:2]))


def test_captured_arrays_beside_weights():
    table = np.arange(4, dtype=np.float32)
    part = lm.lift(lambda w, x: x * w + table, jnp.float32(3), input="float32[b, 4]")
    assert set(part.weights) == {"weights", "captured_0"}
    np.testing.assert_allclose(part(x), 3 * x + table, rtol=1e-6)


def test_arrays_that_the_function_makes_are_constants():
    part = lm.lift(lambda x: x * np.array([1, 2, 3, 4], np.float32), input="float32[b, 4]")
    assert part.weights == {}
    other = lm.lift(lambda x: x * np.array([1, 2, 3, 5], np.float32), input="float32[b, 4]")
    assert part.address != other.address


def test_linen_is_lifted_open():
    module = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)])
    part = lm.lift(module, name="mlp")
    assert part.open
    closed = part.init(jax.random.key(1), "float32[b, 4]")
    params = {"params": closed.weights}
    np.testing.assert_allclose(closed(x), module.apply(params, x), rtol=1e-6)
    assert repr(closed) == "<mlp: float32[b, 4] -> float32[b, 2]>"


def test_the_size_of_a_batch_leaves_no_trace_in_the_weights():
    part = lm.lift(nn.Dense(2))
    one = part.init(jax.random.key(0), "float32[b, 4]")
    assert one.address == part.init(jax.random.key(0), "float32[n, 4]").address
    assert one.weights["kernel"].shape == (4, 2)


def test_nnx_is_lifted_with_its_weights():
    module = nnx.Linear(4, 2, rngs=nnx.Rngs(0))
    part = lm.lift(module, input="float32[b, 4]")
    np.testing.assert_allclose(part(x), module(x), rtol=1e-6)
    assert set(part.weights) == {"kernel", "bias"}
    gradient = jax.grad(lambda m: m(x).sum())(part)
    assert gradient.weights["bias"].tolist() == [3, 3]


def test_state_beside_the_parameters_is_refused():
    with pytest.raises(lm.ImpureError, match="BatchNorm keeps state beside its parameters"):
        lm.lift(nn.BatchNorm(use_running_average=True)).init(jax.random.key(0), x)
    with pytest.raises(lm.ImpureError, match=r"keeps state .*\(BatchStat\)"):
        lm.lift(nnx.BatchNorm(4, rngs=nnx.Rngs(0)), input="float32[b, 4]")


def test_a_counter_is_refused():
    count = 0

    def counting(x):
        nonlocal count
        count += 1
        return x * count

    with pytest.raises(lm.ImpureError, match="counting is not pure: traced twice, it gave two"):
        lm.lift(counting, input="float32[b]")


def test_a_clock_is_refused():
    with pytest.raises(lm.ImpureError, match="traced twice"):
        lm.lift(lambda x: x + time.perf_counter(), input="float32[b]")


def test_printing_is_refused():
    def printing(x):
        jax.debug.print("{}", x)
        return x

    with pytest.raises(lm.ImpureError, match="printing is not pure: it has the effect"):
        lm.lift(printing, input="float32[b]")


def test_an_untyped_function_is_certified_when_its_type_is_known():
    count = 0

    def counting(x):
        nonlocal count
        count += 1
        return x * count

    part = lm.lift(counting)
    with pytest.raises(lm.ImpureError, match="counting is not pure"):
        lm.lift(jnp.tanh, input="float32[b]") >> part


def test_an_untyped_function_may_not_capture_arrays():
    table = jnp.arange(4.0)
    part = lm.lift(lambda x: x + table, name="shift")
    with pytest.raises(lm.ImpureError, match="shift captures an array of type float32"):
        lm.lift(jnp.tanh, input="float32[4]") >> part


def test_a_function_that_does_not_run_says_which_and_where():
    with pytest.raises(lm.MismatchError) as error:
        lm.lift(lambda w, x: x @ w, jnp.ones((5, 2)), input="float32[b, 4]", name="wrong")
    assert str(error.value).startswith("wrong does not run on float32[b, 4]: TypeError: ")
    assert "test_lift.py:" in str(error.value)


def test_dtypes_are_not_promoted():
    with pytest.raises(lm.MismatchError, match="does not run on float32"):
        lm.lift(lambda x: x + jnp.ones(4, jnp.int32), input="float32[4]")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lm.lift(3), "3 can not be lifted: give a function"),
        (lambda: lm.lift(lambda w, x: x), r"lift calls the function as f\(x\)"),
        (lambda: lm.lift(lambda x: x, 1.0), r"lift calls the function as f\(weights, x\)"),
        (lambda: lm.lift(lambda w, x: x, {"a": "b"}), r"hold 'b' at \['a'\]: give arrays"),
        (lambda: lm.lift(lambda x: {1: x}, input="float32[b]"), "the output of f is a"),
        (lambda: lm.lift(lambda x: x, input="wide"), "'wide' is no type"),
    ],
)
def test_what_can_not_be_lifted(call, message):
    with pytest.raises(lm.SpecError, match=message):
        call()
