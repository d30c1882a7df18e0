"""Models as values: immutable, pytrees, closed by init, frozen, succeeded."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parts import dense, rows

import lamda as lm

f, g, h = dense(4, 8, 0, "f"), dense(8, 2, 1, "g"), dense(8, 3, 2, "h")
x = rows(5, 4)


def test_a_composition_is_its_parts():
    np.testing.assert_allclose((f >> g)(x), g(f(x)), rtol=1e-6)
    np.testing.assert_allclose((f >> (g & h))(x)[1], h(f(x)), rtol=1e-6)


def test_models_are_immutable():
    with pytest.raises(AttributeError, match="models are immutable: term can not be set"):
        f.term = g.term
    with pytest.raises(AttributeError, match="can not be deleted"):
        del f.term


def test_composing_leaves_its_operands_as_they_were():
    before = (repr(f), f.address, repr(g), g.address)
    both = f >> g
    both >> lm.lift(jnp.tanh)
    lm.branch(both, f)
    lm.freeze(both)
    assert (repr(f), f.address, repr(g), g.address) == before


def test_weights_are_found_by_path():
    model = f >> lm.branch(a=g, b=h >> dense(3, 3, 5, "h"))
    assert list(model.weights) == ["f", "branch"]
    assert list(model.weights["branch"]) == ["a", "b"]
    assert model.weights["branch"]["b"]["h"]["kernel"].shape == (8, 3)
    square = dense(8, 8, 6, "square")
    assert list((f >> square >> square).weights) == ["f", "square"]  # tied: once
    assert list((g >> dense(2, 8, 3, "f") >> dense(8, 8, 4, "f")).weights) == [
        "g", "f", "f_1",
    ]  # fmt: skip


def test_weights_go_back_where_they_came_from():
    # Trees of JAX sort their keys and terms do not: z comes before a here.
    model = lm.branch(z=dense(4, 4, 1), a=dense(4, 4, 2))
    again = model.replace_weights(model.weights)
    assert again.address == model.address
    leaves, structure = jax.tree.flatten(model)
    assert jax.tree.unflatten(structure, leaves).address == model.address
    assert lm.succ(model, jax.tree.map(lambda w: w * 1, model.weights)).address == model.address


def test_a_model_is_a_pytree_of_its_trained_weights():
    model = lm.freeze(f) >> g
    assert [w.shape for w in jax.tree.leaves(model)] == [(2,), (8, 2)]
    doubled = jax.tree.map(lambda w: 2 * w, model)
    np.testing.assert_array_equal(doubled.weights["g"]["kernel"], 2 * g.weights["kernel"])
    assert jax.tree.structure(doubled) == jax.tree.structure(model)
    paths = jax.tree_util.tree_flatten_with_path(model)[0]
    assert jax.tree_util.keystr(paths[0][0]) == ".weights['g']['bias']"


def test_every_transformation_works_on_models():
    model = f >> g
    np.testing.assert_array_equal(jax.jit(lambda m, x: m(x))(model, x), model(x))
    np.testing.assert_allclose(jax.vmap(model)(x[:, None])[:, 0], model(x), rtol=1e-6)
    gradient = jax.grad(lambda m: m(x).sum())(model)
    assert isinstance(gradient, lm.Model)
    by_hand = jax.grad(lambda w: model.apply(w, x).sum())(model.weights)
    jax.tree.map(np.testing.assert_array_equal, gradient.weights, by_hand)
    tangent = jax.jvp(model, (x,), (jnp.ones_like(x),))[1]
    by_hand = jnp.ones_like(x) @ f.weights["kernel"] @ g.weights["kernel"]
    np.testing.assert_allclose(tangent, by_hand, rtol=1e-5)


def test_every_optimiser_works_on_models():
    model = lm.freeze(f) >> g
    optimiser = optax.adamw(1e-2)
    state = optimiser.init(model)
    gradient = jax.grad(lambda m: (m(x) ** 2).mean())(model)
    updates, _ = optimiser.update(gradient, state, model)
    new = optax.apply_updates(model, updates)
    assert (new(x) ** 2).mean() < (model(x) ** 2).mean()
    np.testing.assert_array_equal(new.frozen["f"]["kernel"], f.weights["kernel"])


def test_the_gradient_of_a_frozen_weight_is_not_computed():
    model = lm.freeze(f) >> g

    def step(m, x):
        return jax.grad(lambda m: m(x).sum())(m)

    text = str(jax.make_jaxpr(step)(model, x))
    shape = "f32[4,8]"  # of the frozen kernel: read once, and nothing of that shape is made
    assert f"{shape} = " not in text
    assert "f32[8,2] = " in text


def test_freezing_in_one_model_changes_no_other():
    model = f >> g
    frozen = lm.freeze(f) >> h
    assert set(model.weights) == {"f", "g"}
    assert set(frozen.weights) == {"h"}
    both = lm.branch(f, lm.freeze(f))
    assert len(jax.tree.leaves(both)) == 2
    moved = lm.succ(both, jax.tree.map(lambda w: w + 1, both.weights))
    np.testing.assert_array_equal(moved(x)[1], f(x))
    assert not np.array_equal(moved(x)[0], f(x))
    assert jax.tree.structure(moved) == jax.tree.structure(both)
    summed = jax.tree.map(jnp.add, both, moved)  # as an optimiser adds its updates
    np.testing.assert_array_equal(summed(x)[1], f(x))


def test_whole_numbers_are_not_trained():
    table = {"ids": jnp.arange(4), "rows": jnp.ones((4, 2))}
    part = lm.lift(lambda w, x: w["rows"][w["ids"]][x], table, input="int32[b]")
    assert part.weights["ids"] is None
    assert [w.shape for w in jax.tree.leaves(part)] == [(4, 2)]
    gradient = jax.grad(lambda m: m(jnp.array([1, 2])).sum())(part)
    assert gradient.frozen["ids"].tolist() == [0, 1, 2, 3]


def test_new_weights_are_not_traced_again():
    class Seen:  # an attribute of a class is out of sight of the purity check
        traced = 0

    def counting(w, x):
        Seen.traced += 1
        return x * w

    model = lm.lift(counting, jnp.float32(2)) >> lm.lift(jnp.tanh)
    model(x)
    once = Seen.traced
    for _ in range(3):
        model = lm.succ(model, jax.tree.map(lambda w: w + 1, model.weights))
        model(x)
    assert Seen.traced == once


def test_weights_of_python_numbers_are_not_traced_again():
    def product(w, x):
        return x * w

    seen = []
    part = lm.lift(product, 2.0, input="float32[n]")
    part(jnp.ones(3))

    def listen(event, seconds, **_):
        seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for new in (np.float32(3), jnp.float32(3), jnp.asarray(3.0), 3.0):
            assert lm.succ(part, new)(jnp.ones(3)).tolist() == [3, 3, 3]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert [event for event in seen if event.endswith("trace_duration")] == []
    assert lm.succ(part, 3.0).address == lm.succ(part, jnp.float32(3)).address


def test_versions_are_successors():
    weights = jax.tree.map(lambda w: w + 1, f.weights)
    new = lm.succ(f, weights)
    assert lm.pred(new) is f
    assert lm.pred(f) is None
    assert new("who") == lm.who(new) == new.address
    assert new("pred") is f
    assert f("succ")(weights).address == new.address
    with pytest.raises(lm.SpecError, match="is no message: a model answers 'who', 'pred' and"):
        f("age")


def test_a_successor_may_be_another_term_of_the_same_type():
    new = lm.succ(f, f >> lm.lift(jnp.tanh))
    assert lm.pred(new) is f
    with pytest.raises(lm.MismatchError, match="a successor has the types of its predecessor"):
        lm.succ(f, f >> g)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(lm.SpecError) as error:
        f.apply({"kernel": jnp.ones((4, 9)), "bias": jnp.zeros(8)}, x)
    assert str(error.value) == (
        "the weights given do not fit f: at ['kernel'], expected float32[4, 8], got float32[4, 9]. "
        "Start from model.weights and change the leaves."
    )
    with pytest.raises(
        lm.SpecError, match=r"at \['kernel'\], expected float32\[4, 8\], got nothing"
    ):
        f.apply({"bias": jnp.zeros(8)}, x)


def test_a_wrong_input_is_refused_before_anything_runs():
    with pytest.raises(lm.MismatchError) as error:
        f(jnp.ones((3, 5), jnp.int32))
    assert str(error.value) == (
        "f takes float32[b, 4], and was given int32[3, 5]:\n"
        "  dtype: int32 is not float32; lamda promotes no dtype silently\n"
        "  axis 1: 5 is not 4"
    )


def test_a_mismatch_is_refused_when_composing():
    with pytest.raises(lm.MismatchError) as error:
        f >> lm.identity >> dense(9, 2, 0, "head", b="n")
    text = str(error.value)
    assert text.startswith("f does not compose with head:\n  f gives float32[b, 8]\n      made at ")
    assert "  head takes float32[n, 9]\n      made at " in text
    assert text.endswith(
        "  axis 1: 8 is not 9\n"
        "Put a part between them that turns one into the other, or change the type of one of them."
    )
    assert "parts.py:" in text


def test_a_mismatch_in_a_branch_is_refused():
    with pytest.raises(lm.MismatchError, match="f and g do not branch from one input"):
        f & g


def test_a_mismatch_deep_in_an_untyped_part_is_refused_when_its_type_is_known():
    late = lm.lift(lambda x: x[:, :3], name="cut") >> g
    with pytest.raises(lm.MismatchError, match="cut does not compose with g"):
        f >> late


def test_dimensions_are_unified():
    fixed = lm.lift(lambda x: x, input="float32[7, 8]", name="seven")
    assert lm.types.show((f >> fixed).input) == "float32[7, 4]"
    assert lm.types.show((f >> lm.lift(jnp.tanh) >> fixed).input) == "float32[7, 4]"
    assert repr(f >> dense(8, 2, 1, "g", b="n")) == "<f >> g: float32[b, 4] -> float32[b, 2]>"


def test_picks_that_miss_are_refused():
    with pytest.raises(lm.MismatchError, match="which has no 'c': pick one of 'a', 'b'"):
        lm.branch(a=f, b=f) >> lm.pick("c")
    with pytest.raises(lm.MismatchError, match="which is one array: there is nothing to pick from"):
        f >> lm.pick(0)


def test_what_is_no_model_is_refused():
    with pytest.raises(
        lm.SpecError, match=r"compose takes models, and got <.*Lift it first: lm.lift\(tanh\)"
    ):
        lm.compose(f, jnp.tanh)
    with pytest.raises(lm.SpecError, match="branch takes at least one model"):
        lm.branch()
    with pytest.raises(lm.SpecError, match="by position, or by name, not both"):
        lm.branch(f, a=f)
    with pytest.raises(TypeError, match="unsupported operand"):
        f >> 3  # type: ignore[operator]


def test_unknown_input_types():
    tanh = lm.lift(jnp.tanh)
    assert repr(tanh) == "<tanh: ? -> ?>"
    np.testing.assert_array_equal(tanh(x), jnp.tanh(x))
    with pytest.raises(lm.OpenError, match="the input type of tanh is not known"):
        tanh.address
    assert tanh >> lm.identity is tanh


def test_open_models_ask_to_be_closed():
    import flax.linen as nn

    model = lm.lift(nn.Dense(3)) >> lm.lift(jnp.tanh)
    assert model.open
    for use in (lambda: model(x), lambda: model.weights, lambda: model.address):
        with pytest.raises(lm.OpenError, match="Close it first: model.init"):
            use()
    closed = model.init(jax.random.key(0), x)
    assert not closed.open and model.open
    assert closed(x).shape == (5, 3)


def test_tied_parts_stay_tied_when_closed():
    import flax.linen as nn

    part = lm.lift(nn.Dense(4))
    model = (part >> part).init(jax.random.key(0), x)
    assert len(jax.tree.leaves(model)) == 2
    other = lm.lift(nn.Dense(4))
    assert len(jax.tree.leaves((part >> other).init(jax.random.key(0), x))) == 4


def test_a_model_inside_a_transformation_has_no_address():
    with pytest.raises(lm.OpenError, match="inside a JAX transformation"):
        jax.jit(lambda m: m.address)(f)


def test_composing_a_thousand_parts_is_cheap():
    model = f
    for _ in range(1000):
        model = model >> dense_4
    assert len(model.term.parts) == 1001


dense_4 = dense(8, 8, 9, "d")
