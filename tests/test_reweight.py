"""Cast, quantize and lora: the same parts with other weights, computed by terms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parts import dense, dense_function, rows

import lamda as lm

f, g, h = dense(4, 8, 0, "f"), dense(8, 2, 1, "g"), dense(8, 3, 2, "h")
tanh = lm.lift(jnp.tanh)
mlp = f >> tanh >> g
x = rows(5, 4)
KEY = jax.random.key(7)
EPS = float(np.finfo(np.float32).eps)


def adapted(model, **options):
    """lora with numbers in place of the zeros that it begins with."""
    new = lm.lora(model, 2, key=KEY, **options)
    return lm.succ(new, jax.tree.map(lambda w: w + 0.5, new.weights))


CHANGES = {
    "cast": lambda m: lm.cast(m, jnp.bfloat16),
    "quantize": lm.quantize,
    "lora": adapted,
    "lora of quantize": lambda m: adapted(lm.quantize(m)),
    "cast of quantize": lambda m: lm.cast(lm.quantize(m), jnp.bfloat16),
    "quantize of lora": lambda m: lm.quantize(adapted(m)),
    "lora of lora": lambda m: adapted(adapted(m)),
}


def nodes(model):
    return [node.op.name for node in model.program.nodes]


def same(a, b, ulps=8):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, ulps * EPS, ulps * EPS), a, b)


# --- laws of all of them ---


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_has_its_signature_and_another_address(name):
    new = CHANGES[name](mlp)
    assert repr(new) == repr(mlp) == "<f >> tanh >> g: float32[b, 4] -> float32[b, 2]>"
    assert new.address != mlp.address
    assert new(x).dtype == jnp.float32
    if "lora" not in name:
        np.testing.assert_allclose(new(x), mlp(x), atol=0.05)


@pytest.mark.parametrize("name", ["cast", "quantize", "lora", "lora of quantize"])
def test_what_is_changed_is_a_model_as_any_other(name, tmp_path):
    new = CHANGES[name](mlp)
    store = lm.Store(tmp_path)
    store.put(new, "m")
    back = store.get("m")
    assert back.address == new.address
    assert jax.tree.structure((back.weights, back.frozen)) == jax.tree.structure(
        (new.weights, new.frozen)
    )
    same(back(x), new(x))
    same(lm.compile(new, batch=8)(x), new(x))
    same(jax.jit(lambda m, x: m(x))(new, x), new(x))
    leaves, structure = jax.tree.flatten(new)
    assert jax.tree.unflatten(structure, leaves).address == new.address


@pytest.mark.parametrize("name", ["cast", "quantize", "lora", "lora of quantize"])
def test_shared_parts_run_once_and_tied_parts_stay_tied(name):
    square = dense(8, 8, 3, "square")
    shared = CHANGES[name](f)
    once, twice = nodes(shared), nodes(lm.branch(a=shared >> tanh, b=shared >> square))
    assert sorted(twice) == sorted([*once, "tanh", "square"])
    tied = CHANGES[name](f >> square >> square)
    first = f >> square
    assert len(tied.tensors()) == len(CHANGES[name](first).tensors())
    two = CHANGES[name](f >> square >> dense(8, 8, 4, "square"))
    assert len(two.tensors()) > len(tied.tensors())


@pytest.mark.parametrize("name", CHANGES)
def test_operands_stay_as_they_were(name):
    before = (repr(mlp), mlp.address, len(jax.tree.leaves(mlp)))
    CHANGES[name](mlp)
    assert (repr(mlp), mlp.address, len(jax.tree.leaves(mlp))) == before


@pytest.mark.parametrize("name", ["cast", "quantize", "lora"])
def test_regrouping_changes_nothing(name):
    change = CHANGES[name]
    left, right = change((f >> tanh) >> g), change(f >> (tanh >> g))
    assert left.address == right.address
    assert change(lm.branch(g, h)).output == lm.branch(g, h).output


def test_open_models_are_refused():
    import flax.linen as nn

    part = lm.lift(nn.Dense(3))
    for change in CHANGES.values():
        with pytest.raises(lm.OpenError, match="Close it first: model.init"):
            change(part)


def test_bodies_of_controls_are_changed():
    square = dense(4, 4, 3, "square", b="n")
    for change in (CHANGES["cast"], lm.quantize, lambda m: lm.lora(m, 2, key=KEY)):
        new = change(lm.iterate(square, n=2))
        one = change(square)
        np.testing.assert_allclose(new(x), one(one(x)), rtol=1e-5, atol=1e-5)
        assert len(new.tensors()) == len(one.tensors())
        assert jax.tree.structure(new.weights) == jax.tree.structure(one.weights)


@pytest.mark.parametrize("name", ["cast", "quantize", "lora", "lora of quantize"])
def test_equal_blocks_are_rolled_whatever_their_weights_are_made_of(name):
    from lamda.compile import program

    blocks = CHANGES[name](lm.compose(*(dense(4, 4, i, "block") for i in range(6))))
    assert len(blocks.program.nodes) >= 4
    assert len(program.of(blocks, roll=True).graph.nodes) == 1


# --- quantize ---


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", [(7, 5), (3, 7, 5), (2, 2, 7, 5), (0, 5)])
def test_each_weight_is_within_half_a_step(bits, shape):
    random = np.random.default_rng(0).normal(size=shape) * 10.0 ** np.arange(5)
    w = random.astype(np.float32)
    part = lm.lift(lambda w, x: x + w.sum(), w, input="float32[b]", name="sum")
    kept = jax.tree.map(np.asarray, lm.quantize(part, bits).frozen)
    largest = 2 ** (bits - 1) - 1
    assert kept["int8"].dtype == np.int8 and kept["int8"].shape == shape
    scale = kept["scale"].reshape(*shape[:-2], 1, shape[-1])
    error = np.abs(w - kept["int8"] * scale)
    assert (error <= scale / 2 * (1 + 4 * EPS) + np.abs(w) * EPS).all()
    assert (np.abs(kept["int8"]) <= largest).all()
    assert not w.size or (np.abs(kept["int8"]).max(-2) == largest).all()


def test_quantised_weights_stand_where_they_stood_and_none_is_trained():
    new = lm.quantize(mlp)
    assert jax.tree.leaves(new) == []
    assert new.weights == {}
    assert new.frozen["f"]["kernel"]["int8"].shape == (4, 8)
    assert new.frozen["f"]["kernel"]["scale"].shape == (8,)
    np.testing.assert_array_equal(new.frozen["g"]["bias"], g.weights["bias"])


def test_a_channel_of_zeros_stays_zero():
    part = lm.lift(lambda w, x: x @ w, jnp.zeros((4, 2)).at[0, 0].set(3), input="float32[b, 4]")
    np.testing.assert_array_equal(lm.quantize(part)(x)[:, 1], jnp.zeros(5))
    assert lm.quantize(part).frozen["scale"][1] == 1


def test_quantising_distributes_and_is_idempotent():
    assert lm.quantize(mlp).address == (lm.quantize(f) >> tanh >> lm.quantize(g)).address
    assert lm.quantize(lm.quantize(mlp)).address == lm.quantize(mlp).address
    assert lm.quantize(lm.freeze(mlp)).address == lm.quantize(mlp).address
    assert lm.quantize(tanh).term == tanh.term


def test_a_bundle_keeps_the_small_numbers(tmp_path):
    wide = dense(256, 128, 0, "wide")

    def packs(model, name):
        lm.bundle(model, tmp_path / name, batch=1)
        return sum(file.stat().st_size for file in (tmp_path / name / "weights").iterdir())

    ratio = packs(wide, "whole") / packs(lm.quantize(wide), "small")
    assert 3.8 < ratio < 4


def test_a_served_bundle_of_quantised_weights_answers_as_the_model(tmp_path):
    import json

    import serve

    new = lm.quantize(mlp)
    lm.bundle(new, tmp_path, batch=8)
    answer = json.loads(serve.load(tmp_path)(json.dumps(x.tolist()).encode()))
    same(np.float32(answer), new(x), 32)


def test_what_quantize_refuses():
    with pytest.raises(lm.SpecError) as error:
        lm.quantize(f, bits=3)
    assert str(error.value) == "quantize takes 8 bits or 4, got 3"
    broken = lm.succ(f, {**f.weights, "kernel": f.weights["kernel"].at[0, 0].set(jnp.nan)})
    with pytest.raises(lm.SpecError, match="the weights of f are not all finite"):
        lm.quantize(broken)


# --- lora ---


def test_before_training_an_adapted_model_is_the_model():
    new = lm.lora(mlp, 2, key=KEY)
    same(new(x), mlp(x))
    assert new.address != mlp.address


def test_only_the_two_small_factors_are_trained():
    new = lm.lora(mlp, 2, key=KEY)
    assert jax.tree.map(jnp.shape, new.weights) == {
        "f": {"lora": {"kernel": {"a": (4, 2), "b": (2, 8)}}},
        "g": {"lora": {"kernel": {"a": (8, 2), "b": (2, 2)}}},
    }
    same(new.frozen["f"]["base"]["kernel"], f.weights["kernel"], 0)
    gradient = jax.grad(lambda m: m(x).sum())(new)
    assert jax.tree.map(jnp.shape, gradient.weights) == jax.tree.map(jnp.shape, new.weights)


def test_an_adapted_model_computes_what_the_paper_says():
    new = adapted(f, alpha=6)
    a, b = (new.weights["lora"]["kernel"][name] for name in "ab")
    kernel = f.weights["kernel"] + (a @ b) * 3
    same(new(x), x @ kernel + f.weights["bias"], 64)


@pytest.mark.parametrize("before", [lambda m: m, lm.quantize])
def test_training_moves_the_factors_alone_and_lowers_the_loss(before):
    base = before(mlp)
    new = lm.lora(base, 2, key=KEY)
    target = jnp.stack([x[:, 0], -x[:, 1]], axis=1)

    def loss(y, t):
        return (y - t) ** 2

    options = {"optimizer": optax.adam(0.05), "steps": 60, "batch": 5, "key": KEY}
    fitted = lm.fit(
        new, (x, target), loss=lambda y, t: loss(y, t).mean(), progress=False, **options
    )
    assert loss(fitted(x), target).mean() < 0.5 * loss(new(x), target).mean()
    jax.tree.map(np.testing.assert_array_equal, fitted.frozen, new.frozen)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), fitted.weights, new.weights)
    assert all(jax.tree.leaves(moved))


def test_training_after_a_quantised_part_that_reads_trained_values():
    # The numbers of g are unpacked from no input, so they are no features of the examples.
    model = f >> lm.quantize(g)
    options = {"optimizer": optax.sgd(0.01), "steps": 2, "batch": 3, "key": KEY}
    fitted = lm.fit(model, (x, jnp.zeros((5, 2))), loss=lambda y, t: ((y - t) ** 2).mean(),
                    progress=False, **options)  # fmt: skip
    assert list(fitted.weights) == ["f"]
    assert fitted.weights["f"]["kernel"].shape == (4, 8)


def test_stacks_of_matrices_are_adapted_one_by_one():
    stack = lm.lift(lambda w, x: jnp.einsum("bi,nio->bo", x, w), jax.random.normal(KEY, (3, 4, 2)),
                    input="float32[b, 4]", name="stack")  # fmt: skip
    new = adapted(stack)
    pair = new.weights["lora"]
    assert jax.tree.map(jnp.shape, pair) == {"a": (3, 4, 2), "b": (3, 2, 2)}
    a, b = np.asarray(pair["a"]), np.asarray(pair["b"])
    whole = np.asarray(stack.weights) + np.stack([a[i] @ b[i] for i in range(3)])
    expected = np.einsum("bi,nio->bo", np.asarray(x), whole)
    np.testing.assert_allclose(new(x), expected, rtol=1e-4, atol=1e-4)


def test_where_chooses_by_path_and_the_rest_is_frozen():
    new = lm.lora(mlp, 1, key=KEY, where=lambda path: path == ("g", "kernel"))
    assert list(new.weights) == ["g"]
    same(new.frozen["f"], f.weights, 0)


def test_weights_in_tuples_are_adapted():
    part = lm.lift(lambda w, x: x @ w[0] @ w[1][0], (jnp.eye(4), (jnp.eye(4),)),
                   input="float32[b, 4]")  # fmt: skip
    new = lm.lora(part, 1, key=KEY)
    assert sorted(new.weights["lora"]) == ["0", "1"]
    same(new(x), x)
    assert not np.allclose(adapted(part)(x), x)


def test_the_factors_depend_on_the_key_and_the_place():
    one, two = lm.lora(mlp, 2, key=KEY), lm.lora(mlp, 2, key=KEY)
    assert one.address == two.address
    assert lm.lora(mlp, 2, key=jax.random.key(8)).address != one.address
    square = dense(4, 4, 0, "f") >> dense(4, 4, 0, "f")
    new = lm.lora(square, 2, key=KEY).weights
    a, b = (new[name]["lora"]["kernel"]["a"] for name in ("f", "f_1"))
    assert not np.array_equal(a, b)


def test_what_lora_refuses():
    for rank in (0, -1, 1.5, True):
        with pytest.raises(lm.SpecError) as error:
            lm.lora(f, rank, key=KEY)
        assert str(error.value) == f"the rank of lora is a whole number from 1, got {rank!r}"
    with pytest.raises(lm.SpecError, match="lora found nothing to adapt in tanh: it has no"):
        lm.lora(tanh, 1, key=KEY)
    with pytest.raises(lm.SpecError, match="or where= chose none of them"):
        lm.lora(f, 1, key=KEY, where=lambda path: False)


# --- cast ---


def test_a_cast_model_computes_in_its_dtype():
    new = lm.cast(mlp, jnp.bfloat16)
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(new)}
    assert dtypes == {"bfloat16"}
    assert new.weights.keys() == mlp.weights.keys()
    low = jax.tree.map(lambda w: w.astype(jnp.bfloat16), mlp.weights)
    y = dense_function(low["f"], x.astype(jnp.bfloat16))
    expected = dense_function(low["g"], jnp.tanh(y)).astype(jnp.float32)
    np.testing.assert_allclose(new(x), expected, rtol=2**-6, atol=2**-6)
    assert not np.array_equal(new(x), mlp(x))


def test_casting_distributes_and_to_its_own_dtype_is_nothing():
    assert lm.cast(mlp, "float32").address == mlp.address
    assert (
        lm.cast(mlp, "bfloat16").address
        == (lm.cast(f, "bfloat16") >> lm.cast(tanh, "bfloat16") >> lm.cast(g, "bfloat16")).address
    )
    again = lm.cast(lm.cast(f, "bfloat16"), "bfloat16")
    assert again.address == lm.cast(f, "bfloat16").address
    assert lm.cast(lm.cast(f, "bfloat16"), "float32").weights["kernel"].dtype == jnp.float32
    assert lm.cast(lm.freeze(f), "bfloat16").weights == {"bias": None, "kernel": None}


def test_casting_leaves_whole_numbers_alone():
    table = {"ids": jnp.arange(4), "rows": jnp.ones((4, 2))}
    part = lm.lift(lambda w, x: w["rows"][w["ids"]][x], table, input="int32[b]", name="table")
    new = lm.cast(part, jnp.bfloat16)
    assert repr(new) == "<table: int32[b] -> float32[b, 2]>"
    assert new.frozen["ids"].dtype == jnp.int32 and new.weights["rows"].dtype == jnp.bfloat16
    assert new(jnp.array([1, 2])).dtype == jnp.float32


def test_a_cast_part_that_takes_what_comes():
    new = lm.cast(tanh, jnp.bfloat16)
    assert new(x).dtype == jnp.float32
    assert (f >> new).output == f.output


def test_what_cast_refuses(tmp_path):
    for dtype in (jnp.int8, "nothing", None, "float64"):
        with pytest.raises(lm.SpecError, match="cast takes a floating dtype"):
            lm.cast(f, dtype)
    store = lm.Store(tmp_path)
    store.put(f, "f")
    with pytest.raises(lm.SpecError) as error:
        lm.cast(store.get("f"), jnp.bfloat16)
    text = str(error.value)
    assert text.startswith(
        "f can not be cast to bfloat16, for a part of it does not run in that. A program that was "
        "read from a store has the dtypes it was stored with: cast before putting it there, or use "
        "lm.quantize, which makes the weights smaller and leaves the program as it is.\n"
    )
    stored = store.get("f")
    assert lm.cast(stored, "float32").address == f.address
    np.testing.assert_allclose(lm.quantize(stored)(x), f(x), atol=0.05)
    same(lm.lora(stored, 2, key=KEY)(x), f(x))
