"""The laws of composition, as equalities of addresses, programs and values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parts import dense, rows

import lamda as lm

f, g, h = dense(4, 4, 0, "f"), dense(4, 4, 1, "g"), dense(4, 4, 2, "h")
x = rows(3, 4)

SAME = {
    "associativity": (lm.compose(f, lm.compose(g, h)), lm.compose(lm.compose(f, g), h)),
    "left identity": (lm.identity >> f, f),
    "right identity": (f >> lm.identity, f),
    "inner identity": (lm.compose(f, lm.identity, g, h), lm.compose(f, g, h)),
    "sharing": (lm.branch(f >> g, f >> h), f >> lm.branch(g, h)),
    "sharing by name": (lm.branch(a=f >> g, b=f >> h), f >> lm.branch(a=g, b=h)),
    "order of names": (lm.branch(a=f, b=g), lm.branch(b=g, a=f)),
    "first projection": (lm.branch(f, g) >> lm.pick(0), f),
    "second projection": (lm.branch(f, g) >> lm.pick(1), g),
    "named projection": (lm.branch(a=f, b=g) >> lm.pick("b"), g),
    "pairing": (f >> lm.branch(lm.identity, lm.identity), lm.branch(f, f)),
    "surjective pairing": (
        lm.branch(f, g) >> lm.branch(lm.pick(0), lm.pick(1)), lm.branch(f, g),
    ),
    "nested picks": (lm.branch(a=f & g) >> lm.pick("a", 1), g),
    "freezing": (lm.freeze(f) >> g, f >> g),
    "renaming parts": (lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[b]", name="p"),
                       lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[n]", name="q")),
    "renaming weights": (
        lm.lift(lambda w, x: x * w["z"] + w["a"], {"z": jnp.float32(2), "a": jnp.float32(1)},
                input="float32[b]"),
        lm.lift(lambda w, x: x * w["k"] + w["l"], {"k": jnp.float32(2), "l": jnp.float32(1)},
                input="float32[b]"),
    ),
    "spelling": (
        lm.lift(lambda x: jax.nn.gelu(jnp.sin(x)), input="float32[b]"),
        lm.lift(jax.jit(lambda y: jax.jit(jax.nn.gelu)(jnp.sin(y))), input="float32[b]"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", SAME)
def test_laws_hold_as_addresses(law):
    left, right = SAME[law]
    assert left.address == right.address


@pytest.mark.parametrize("law", SAME)
def test_laws_hold_as_values(law):
    left, right = SAME[law]
    at = x if "4" in lm.types.show(left.input) else x[:, 0]
    jax.tree.map(np.testing.assert_array_equal, left(at), right(at))


other = dense(4, 4, 3, "f")
bit = lm.succ(f, {**f.weights, "bias": f.weights["bias"].at[0].set(1e-45)})
DIFFERENT = {
    "order of composition": (f >> g, g >> f),
    "order of outputs": (f & g, g & f),
    "names of outputs": (lm.branch(a=f), lm.branch(b=f)),
    "one weight bit": (f, bit),
    "weights": (f, other),
    "a constant": (
        lm.lift(lambda x: x + 1.0, input="float32[b]"),
        lm.lift(lambda x: x + 2.0, input="float32[b]"),
    ),
    "a dtype": (
        lm.lift(lambda x: x, input="float32[b]"), lm.lift(lambda x: x, input="int32[b]"),
    ),
    "a fixed dimension": (
        lm.lift(lambda x: x, input="float32[b]"), lm.lift(lambda x: x, input="float32[2]"),
    ),
    "two names for one": (
        lm.lift(lambda x: x["a"], input={"a": "float32[b]", "b": "float32[b]"}),
        lm.lift(lambda x: x["a"], input={"a": "float32[b]", "b": "float32[n]"}),
    ),
    "which input is read": (
        lm.lift(lambda x: x["a"], input={"a": "float32[b]", "b": "float32[b]"}),
        lm.lift(lambda x: x["b"], input={"a": "float32[b]", "b": "float32[b]"}),
    ),
    "a pair of one and one": (lm.branch(f), f),
    "swapped weights": (
        lm.lift(lambda w, x: x * w["a"] + w["b"], {"a": jnp.float32(2), "b": jnp.float32(1)},
                input="float32[b]"),
        lm.lift(lambda w, x: x * w["b"] + w["a"], {"a": jnp.float32(2), "b": jnp.float32(1)},
                input="float32[b]"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", DIFFERENT)
def test_addresses_differ_with_anything_else(change):
    left, right = DIFFERENT[change]
    assert left.address != right.address


def test_shared_parts_run_once():
    model = lm.branch(f >> g, f >> h, f >> g)
    assert [node.op.name for node in model.program.nodes] == ["f", "g", "h"]


def test_what_is_not_asked_for_does_not_run():
    model = lm.branch(f, g) >> lm.pick(0)
    assert [node.op.name for node in model.program.nodes] == ["f"]


def test_parts_made_separately_are_two_however_equal():
    zeros = {"kernel": jnp.zeros((4, 4)), "bias": jnp.zeros(4)}
    from parts import dense_function

    def part():
        return lm.lift(dense_function, zeros, input="float32[b, 4]", name="zero")

    one, two = part(), part()
    assert len((one & one).program.nodes) == 1
    assert len((one & two).program.nodes) == 2
    assert (one & one).address == (one & two).address


def test_frozen_parts_of_equal_content_are_one():
    model = lm.fine_tune_head(dense(4, 4, 7, "body"), f) & lm.fine_tune_head(dense(4, 4, 7), g)
    assert len(model.program.nodes) == 3


def test_equal_tensors_under_other_names_are_not_mixed_up():
    ones = jnp.ones(4)
    scale = lm.lift(lambda w, x: x * w["k"], {"k": ones}, input="float32[b, 4]", name="scale")
    shift = lm.lift(lambda w, x: x + w["z"], {"z": ones}, input="float32[b, 4]", name="shift")
    for model in (scale >> shift, lm.freeze(scale >> shift)):
        np.testing.assert_array_equal(model(x), x + 1)
        np.testing.assert_array_equal(lm.compile(model, batch=3)(x), x + 1)
        assert model.address != (shift >> scale).address


def test_a_successor_has_the_same_program():
    model = lm.freeze(f) >> g
    successor = lm.succ(model, jax.tree.map(lambda w: w + 1, model.weights))
    assert successor.program == model.program
    assert hash(successor.program) == hash(model.program)
    assert successor.address != model.address


def test_regrouping_changes_no_name_and_no_initial_weight():
    import flax.linen as nn

    parts = [lm.lift(nn.Dense(3)), lm.lift(nn.Dense(3)), lm.lift(nn.Dense(2))]
    left = ((parts[0] >> parts[1]) >> parts[2]).init(jax.random.key(0), "float32[b, 4]")
    right = (parts[0] >> (parts[1] >> parts[2])).init(jax.random.key(0), "float32[b, 4]")
    assert list(left.weights) == ["Dense", "Dense_1", "Dense_2"]
    assert left.address == right.address
    assert not np.array_equal(
        left.weights["Dense"]["kernel"][:3], left.weights["Dense_1"]["kernel"]
    )


def test_addresses_do_not_depend_on_the_process():
    import subprocess
    import sys
    from pathlib import Path

    code = "import test_laws; print(*(m.address for pair in test_laws.SAME.values() for m in pair))"
    here = str(Path(__file__).parent)
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{here}:{Path(here).parent}", "PATH": ""},
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(seen) == 1
    assert seen.pop().split() == [m.address for pair in SAME.values() for m in pair]


def test_a_tower_of_shared_parts_is_as_many_steps_as_it_has_floors():
    add = lm.lift(lambda pair: pair[0] + pair[1], name="add")
    tower = f
    for _ in range(60):  # a tree of 2 ** 60 leaves
        tower = lm.branch(tower, tower) >> add
    assert repr(tower).startswith("<compose of 2,305,843,009,213,693,951 parts: float32[b, 4] -> ")
    assert jax.tree.structure(tower) == jax.tree.structure(jax.tree.map(lambda w: w, tower))
    assert len(tower.program.nodes) == 61
    assert tower.address != f.address
