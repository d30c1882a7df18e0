"""Lifting: functions, Flax modules, captured arrays, and what is refused."""

import subprocess
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from jaxtyping import BFloat16, Bool, Float, Float32, Int, Int32, Num, Shaped
from parts import dense, dense_function, rows

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

    with pytest.raises(
        lm.ImpureError, match="counting is not pure: it writes to count, outside of it"
    ):
        lm.lift(counting, input="float32[b]")


count = 0
seen = []
options = {"on": False}


class Box:
    def __init__(self):
        self.calls = 0

    def method(self, x):
        self.calls = 1
        return x

    def __call__(self, x):
        return self.method(x)


box = Box()


def writes_a_global(x):
    global count
    count = 1
    return x


def appends(x):
    seen.append(1)
    return x


def writes_a_constant(x):
    options["on"] = True
    return x


def writes_an_attribute(x):
    box.calls += 1
    return x


def helps(x):
    return appends(x)


def keeps(x, kept=[]):  # noqa: B006
    kept.append(1)
    return x


def closes_over(cell):
    def writes_a_cell(x):
        nonlocal cell
        cell = 1
        return x

    return writes_a_cell


def closes_over_an_array(table):
    def writes_an_array(x):
        table[0] += 1
        return x

    return writes_an_array


@pytest.mark.parametrize(
    ("function", "variable"),
    [
        (writes_a_global, "count"),
        (appends, "seen"),
        (jax.jit(lambda x: (seen.append(x), x)[1]), "seen"),
        (writes_a_constant, "options"),
        (writes_an_attribute, "box"),
        (helps, "seen"),
        (keeps, "kept"),
        (closes_over(0), "cell"),
        (closes_over_an_array(np.zeros(2)), "table"),
        (closes_over_an_array([[0]][0]), "table"),
        (Box().method, "self"),
        (Box(), "self"),
    ],
)
def test_writes_are_refused_even_where_two_traces_agree(function, variable):
    seen.clear()
    options["on"] = False
    with pytest.raises(lm.ImpureError) as error:
        lm.lift(function, input="float32[b]", name="part")
    first, line, made, *_ = str(error.value).splitlines()
    assert first == (
        f"part is not pure: it writes to {variable}, outside of it. "
        "Return what changes, and take it as an input."
    )
    assert "the function is at" in line and "test_lift.py:" in line
    assert "made at" in made and "test_lift.py:" in made


def test_what_a_function_only_reads_or_keeps_inside_is_pure():
    table, calls = {"scale": [2.0]}, Box()

    def reading(x):
        inside = []
        inside.append(x)

        def again():
            nonlocal x
            x = x * table["scale"][0] + calls.calls

        again()
        return x + inside[0]

    assert lm.lift(reading, input="float32[b]")(jnp.ones(2)).tolist() == [3, 3]


def test_a_property_that_is_computed_once_is_no_write():
    from functools import cached_property

    class Table:
        @cached_property
        def scale(self):
            return 2.0

    table = Table()
    assert lm.lift(lambda x: x * table.scale, input="float32[]")(jnp.float32(1)) == 2


def scaled(x: Float[Array, "b 4"]):
    return x * 2


def weighted(weights: Float[Array, ""], x: "Float32[Array, 'rows 4']"):
    return x * weights


def test_annotations_give_the_type():
    assert repr(lm.lift(scaled)) == "<scaled: float32[b, 4] -> float32[b, 4]>"
    assert lm.types.show(lm.lift(weighted, jnp.float32(2)).input) == "float32[rows, 4]"
    assert lm.lift(scaled).address == lm.lift(scaled, input="float32[n, 4]").address
    assert lm.types.show(lm.lift(scaled, input="float32[2, 4]").input) == "float32[2, 4]"


@pytest.mark.parametrize(
    ("annotation", "type"),
    [
        (Float[Array, "b 16"], "float32[b, 16]"),
        (Int32[Array, ""], "int32[]"),
        (Int[Array, "b t"], "int32[b, t]"),
        (Bool[Array, "n+1"], "bool[n + 1]"),
        (BFloat16[Array, "rows=3"], "bfloat16[3]"),
        (tuple[Float[Array, "b 1"], Int[Array, "b 2"]], "(float32[b, 1], int32[b, 2])"),
        ("float32[b, 4]", "float32[b, 4]"),
        (Num[Array, "b"], "?"),
        (Shaped[Array, "b"], "?"),
        (Float[Array, "*batch 3"], "?"),
        (Float[Array, "..."], "?"),
        (Float[Array, "#b"], "?"),
        (Float[Array, "_"], "?"),
        (tuple[Float[Array, "b 1"], int], "?"),
        (jax.Array, "?"),
        ("Unknown", "?"),
    ],
)
def test_what_annotations_say(annotation, type):
    from lamda.lift.annotations import annotated

    assert lm.types.show(annotated(annotation, scaled)) == type


def test_jaxtyping_is_not_imported_to_lift():
    code = "import sys, lamda as lm; lm.lift(lambda x: x, input='float32[b]'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "jaxtyping" not in done.stdout.split()


(size,) = jax.export.symbolic_shape("b")
struct = jax.ShapeDtypeStruct((size, 4), jnp.float32)


def test_an_exported_program_has_the_address_of_its_function():
    exported = jax.export.export(jax.jit(scaled))(struct)
    for program in (exported, exported.serialize()):
        part = lm.lift(program)
        assert repr(part) == "<scaled: float32[b, 4] -> float32[b, 4]>"
        assert part.address == lm.lift(scaled).address
        np.testing.assert_array_equal(part(x), scaled(x))


def test_an_exported_program_of_weights(tmp_path):
    part = dense(4, 2)
    weights = jax.tree.map(lambda w: jax.ShapeDtypeStruct(w.shape, w.dtype), part.weights)
    exported = jax.export.export(jax.jit(dense_function))(weights, struct)
    lifted = lm.lift(exported.serialize(vjp_order=1), part.weights, name="again")
    assert lifted.address == part.address
    gradient = jax.grad(lambda m: m(x).sum())(lifted >> lm.lift(jnp.sin))
    assert gradient.weights["again"]["bias"].shape == (2,)
    store = lm.Store(tmp_path / "store")
    store.put(lifted, ref="part")
    assert store.get("part").address == part.address
    with pytest.raises(lm.SpecError, match="and this one is dense_function of 2 arguments"):
        lm.lift(exported)


def test_a_program_of_lists_takes_tuples():
    exported = jax.export.export(jax.jit(lambda x: [x["a"][0] + 1, x["b"]]))({"a": [x], "b": x})
    part = lm.lift(exported)
    assert lm.types.show(part.input) == "{a: (float32[3, 4],), b: float32[3, 4]}"
    np.testing.assert_array_equal(part({"a": (x,), "b": x})[0], x + 1)


def test_a_clock_is_refused():
    # Its fraction: float32 does not hold the milliseconds of a machine that is up for hours.
    with pytest.raises(lm.ImpureError, match="traced twice"):
        lm.lift(lambda x: x + time.perf_counter() % 1, input="float32[b]")


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
        (lambda: lm.lift(b"abc"), "these 3 bytes are no exported program"),
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


def test_a_function_of_no_module_is_lifted():
    scope: dict = {}
    exec("def double(x):\n    return x + x", scope)
    assert scope["double"].__module__ is None
    assert lm.lift(scope["double"], input="float32[b]")(jnp.ones(2)).tolist() == [2, 2]
