"""Every combinator beside plain JAX; its laws as addresses; its types; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parts import dense, rows

import lamda as lm

f, g, h = dense(4, 4, 0, "f"), dense(4, 4, 1, "g"), dense(4, 4, 2, "h")
narrow = dense(4, 3, 3, "narrow")
positive = lm.lift(lambda x: x.sum() > 0, input="float32[b, 4]", name="positive")
which = lm.lift(lambda x: jnp.int32(x.sum() > 0) * 2, input="float32[b, 4]", name="which")
sine = lm.lift(jnp.sin, input="float32[b, 4]", name="sine")
pairs = lm.lift(lambda x: x, input=("float32[b, 4]", "float32[b1, 4]"), name="pairs")
minus = lm.lift(lambda xy: xy[0] - xy[1], input=("float32[b, 4]", "float32[b, 4]"), name="minus")
step = lm.lift(
    lambda w, sx: (jnp.tanh(sx[0] * w + sx[1]), sx[0].sum()), jnp.float32(0.5),
    input=("float32[4]", "float32[4]"), name="step",
)  # fmt: skip
row = lm.lift(
    lambda w, x: jnp.tanh(x @ w), jax.random.normal(jax.random.key(5), (4, 4)) / 2,
    input="float32[4]", name="row",
)  # fmt: skip
half = lm.lift(lambda w, x: x * w, jnp.float32(0.5), input="float32[4]", name="half")
settled = lm.lift(lambda x: (x * x).sum() < 0.01, name="settled")
x = rows(3, 4)
v = x[0]


def by_hand_scan(w, sx):
    def body(s, e):
        return jnp.tanh(s * w + e), s.sum()

    return jax.lax.scan(body, *sx)


def softmix(x):
    p = jax.nn.softmax(narrow(x)[:, :2], axis=-1)
    return p[:, :1] * f(x) + p[:, 1:] * g(x)


router = narrow >> lm.lift(lambda s: s[:, :2], name="two")
VALUES = {
    "cond": (lm.cond(positive, f, g), x, lambda x: f(x) if x.sum() > 0 else g(x)),
    "cond, else": (lm.cond(positive, f, g), -x, lambda x: f(x) if x.sum() > 0 else g(x)),
    "switch": (lm.switch(which, [f, g, h]), x, lambda x: [f, g, h][2 * int(x.sum() > 0)](x)),
    "scan": (lm.scan(step), (v, x), lambda sx: by_hand_scan(jnp.float32(0.5), sx)),
    "iterate": (lm.iterate(row, n=3), v, lambda v: row(row(row(v)))),
    "iterate none": (lm.iterate(row, n=0), v, lambda v: v),
    "vmap": (lm.vmap(row), x, lambda x: jnp.stack([row(r) for r in x])),
    "remat": (lm.remat(f >> g), x, lambda x: g(f(x))),
    "repeat": (lm.repeat(f, 3), x, lambda x: f(f(f(x)))),
    "parallel": (f @ g, (x, -x[:2]), lambda xy: (f(xy[0]), g(xy[1]))),
    "parallel by name": (
        lm.parallel(b=f, a=g), {"a": x, "b": x}, lambda t: {"a": g(t["a"]), "b": f(t["b"])},
    ),
    "first": (lm.first(f), (x, v), lambda xy: (f(xy[0]), xy[1])),
    "second": (lm.second(f), (v, x), lambda xy: (xy[0], f(xy[1]))),
    "swap": (lm.swap, (x, v), lambda xy: (xy[1], xy[0])),
    "residual": (lm.residual(f), x, lambda x: x + f(x)),
    "add": (lm.add(f, g, h), x, lambda x: f(x) + g(x) + h(x)),
    "add of trees": (lm.add(f & g, g & h), x, lambda x: (f(x) + g(x), g(x) + h(x))),
    "multiply": (lm.multiply(f, g), x, lambda x: f(x) * g(x)),
    "concat": (lm.concat(f, narrow), x, lambda x: jnp.concatenate([f(x), narrow(x)], -1)),
    "concat along 0": (lm.concat(f, g, axis=0), x, lambda x: jnp.concatenate([f(x), g(x)], 0)),
    "stack": (lm.stack(f, g, axis=-1), x, lambda x: jnp.stack([f(x), g(x)], -1)),
    "mean": (lm.ensemble([f, g, h]), x, lambda x: (f(x) + g(x) + h(x)) / 3),
    "sum": (lm.ensemble([f, g], reduce="sum"), x, lambda x: f(x) + g(x)),
    "max": (lm.ensemble([f, g], reduce="max"), x, lambda x: jnp.maximum(f(x), g(x))),
    "a function": (lm.ensemble([f, g], reduce=lambda t: t[0] - t[1]), x, lambda x: f(x) - g(x)),
    "a model": (lm.ensemble([f, g], reduce=minus), x, lambda x: f(x) - g(x)),
    "mixture": (lm.mixture(router, [f, g]), x, softmix),
    "const": (f >> lm.const({"a": 2.0, "b": [1, v]}), x, lambda x: {"a": 2.0, "b": (1, v)}),
    "named": (lm.named(f >> g, "body") >> h, x, lambda x: h(g(f(x)))),
    "tap": (lm.tap(f >> g, "f"), x, lambda x: (g(f(x)), {"f": f(x)})),
    "partial": (lm.partial(minus, x), 2 * x, lambda y: x - y),
    "partial, second": (lm.partial(minus, x, at=1), 2 * x, lambda y: y - x),
    "fresh": (lm.fresh(f), x, f),
}  # fmt: skip


@pytest.mark.parametrize("case", VALUES)
def test_values_are_those_of_plain_jax(case):
    model, at, by_hand = VALUES[case]
    given, wanted = model(at), by_hand(at)
    assert jax.tree.structure(given) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), given, wanted)


def test_until_is_a_while_loop():
    model = lm.iterate(half, until=settled)
    value = v
    for _ in range(20):
        if settled(value):
            break
        value = half(value)
    np.testing.assert_allclose(model(v), value, rtol=1e-5)


STORED = ["cond", "switch", "scan", "iterate", "vmap", "remat", "parallel", "concat", "mean",
          "mixture", "const", "named", "tap", "partial"]  # fmt: skip


def test_every_kind_comes_back_from_a_store(tmp_path):
    store = lm.Store(tmp_path)
    for case in STORED:
        model, at, _ = VALUES[case]
        found = store.get(store.put(model))
        assert found.address == model.address, case
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            found(at), model(at),
        )  # fmt: skip
    until = lm.iterate(half, until=settled)
    found = store.get(store.put(until))
    assert found.address == until.address
    np.testing.assert_array_equal(found(v), until(v))


@pytest.mark.parametrize("case", ["cond", "scan", "iterate", "vmap", "remat", "mixture"])
def test_every_kind_compiles(case):
    model, at, by_hand = VALUES[case]
    sizes = {"b": 3} if "b" in lm.types.names(model.input) else {}
    sizes |= {"n": 3} if "n" in lm.types.names(model.input) else {}
    handler = lm.compile(model, **sizes)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        handler(at), by_hand(at),
    )  # fmt: skip


def total(tree):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))


GRADIENTS = ["cond", "cond, else", "switch", "scan", "iterate", "vmap", "remat"]


@pytest.mark.parametrize("case", GRADIENTS)
def test_gradients_flow_to_the_weights_and_the_input(case):
    model, at, _ = VALUES[case]
    weights, inputs = jax.grad(lambda m, x: total(m(x)), argnums=(0, 1))(model, at)
    values, directions = jax.tree.leaves(model), jax.tree.leaves(weights)
    assert any(np.abs(d).max() > 0 for d in directions)
    assert all(np.abs(d).max() > 0 for d in jax.tree.leaves(inputs))
    # A step of finite size along the gradient changes the value by its squared length.
    size = sum(float((d**2).sum()) for d in directions)
    epsilon = 1e-2 / size**0.5
    moved = jax.tree.unflatten(
        jax.tree.structure(model),
        [w + epsilon * d for w, d in zip(values, directions, strict=True)],
    )
    back = jax.tree.unflatten(
        jax.tree.structure(model),
        [w - epsilon * d for w, d in zip(values, directions, strict=True)],
    )
    slope = (total(moved(at)) - total(back(at))) / (2 * epsilon)
    np.testing.assert_allclose(slope, size, rtol=2e-2)


def test_forward_derivatives_go_through_until():
    model = lm.iterate(half, until=settled)
    tangent = jax.jvp(model, (v,), (jnp.ones_like(v),))[1]
    assert np.abs(tangent).max() > 0


def test_gradients_flow_to_what_partial_fixes():
    gradient = jax.grad(lambda value: total(lm.partial(minus, value)(x)))(2 * x)
    np.testing.assert_allclose(gradient, 2 * (2 * x - x), rtol=1e-5)


# --- laws ---

ADDRESSES = {
    "cond is switch": (lm.cond(positive, f, g), lm.switch(positive, [g, f])),
    "remat leaves no trace": (lm.remat(f >> g), f >> g),
    "remat inside of a control": (lm.vmap(lm.remat(row)), lm.vmap(row)),
    "remat of remat": (lm.remat(lm.remat(f)) >> g, f >> g),
    "repeat adds": (lm.repeat(f, 2) >> lm.repeat(f, 3), lm.repeat(f, 5)),
    "repeat none": (lm.repeat(f, 0) >> g, g),
    "repeat one": (lm.repeat(f, 1), f),
    "interchange": ((f @ g) >> (h @ f), (f >> h) @ (g >> f)),
    "branch then parallel": (lm.branch(f, g) >> (h @ f), lm.branch(f >> h, g >> f)),
    "parallel of names": (lm.parallel(a=f, b=g), lm.parallel(b=g, a=f)),
    "first then second": (pairs >> lm.first(f) >> lm.second(g), pairs >> (f @ g)),
    "second then first": (pairs >> lm.second(g) >> lm.first(f), pairs >> (f @ g)),
    "first of a composition": (pairs >> lm.first(f >> g), pairs >> lm.first(f) >> lm.first(g)),
    "swap twice": (pairs >> lm.swap >> lm.swap, pairs),
    "second by swaps": (pairs >> lm.swap >> lm.first(f) >> lm.swap, pairs >> lm.second(f)),
    "swap is natural": (pairs >> (f @ g) >> lm.swap, pairs >> lm.swap >> (g @ f)),
    "residual is a join": (lm.residual(f), lm.add(lm.identity, f)),
    "a join after": (h >> lm.add(f, g), lm.add(h >> f, h >> g)),
    "stack after": (h >> lm.stack(f, g), lm.stack(h >> f, h >> g)),
    "mixture after": (h >> lm.mixture(router, [f, g]),
                      lm.mixture(h >> router, [h >> f, h >> g])),
    "the sum of an ensemble": (lm.ensemble([f, g], reduce="sum"), lm.add(f, g)),
    "const discards": (f >> lm.const(v), g >> lm.const(v)),
    "const discards all": (lm.branch(f >> lm.const(v), f) >> lm.pick(1), f),
    "const beside": (sine >> lm.branch(f, lm.const(v)) >> lm.pick(1), f >> lm.const(v)),
    "the tree of a const": (f >> lm.const((v, x)) >> lm.pick(0), f >> lm.const(v)),
    "a const of consts": (
        f >> lm.const({"b": v, "a": (1, x)}),
        f >> lm.branch(a=lm.const(1) & lm.const(x), b=lm.const(v)),
    ),
    "named": (lm.named(f >> g, "body") >> h, f >> g >> h),
    "named part": (lm.named(f, "other"), f),
    "fresh": (f >> lm.fresh(f), f >> f),
    "tap keeps the model": (lm.tap(f >> g, "f") >> lm.pick(0), f >> g),
    "tap gives the part": (lm.tap(f >> g, "f") >> lm.pick(1, "f"), f),
    "partial by hand": (
        sine >> lm.partial(minus, x), sine >> lm.branch(lm.const(x), lm.identity) >> minus,
    ),
    "partial of the second": (
        sine >> lm.partial(minus, x, at=1), sine >> lm.branch(lm.identity, lm.const(x)) >> minus,
    ),
    "partial by swap": (sine >> lm.partial(minus, x, at=1),
                        sine >> lm.partial(lm.swap >> minus, x)),
    "beta": (sine >> lm.curry(minus)(x),
             sine >> lm.branch(lm.const(x), lm.identity) >> minus),
    "eta": (lm.curry(minus)(x), (lambda value: lm.partial(minus, value))(x)),
    "eta of apply": (lm.apply(lm.curry(minus), x), lm.curry(minus)(x)),
}  # fmt: skip


@pytest.mark.parametrize("law", ADDRESSES)
def test_laws_hold_as_addresses(law):
    left, right = ADDRESSES[law]
    assert left.address == right.address


DIFFERENT = {
    "the order of cond": (lm.cond(positive, f, g), lm.cond(positive, g, f)),
    "how often": (lm.iterate(row, n=2), lm.iterate(row, n=3)),
    "a loop is not its parts": (lm.iterate(row, n=2), lm.repeat(row, 2)),
    "the body": (lm.iterate(row, n=2), lm.iterate(row >> row, n=2)),
    "two maps": (lm.vmap(row) >> lm.vmap(row), lm.vmap(row >> row)),
    "the order of parallel": (f @ g, g @ f),
    "the join": (lm.add(f, g), lm.multiply(f, g)),
    "the reduction": (lm.ensemble([f, g]), lm.ensemble([f, g], reduce="max")),
    "the axis of concat": (lm.concat(f, g), lm.concat(f, g, axis=0)),
    "the axis of stack": (lm.stack(f, g), lm.stack(f, g, axis=1)),
    "the constant": (f >> lm.const(1.0), f >> lm.const(2.0)),
    "the dtype of a constant": (f >> lm.const(1.0), f >> lm.const(1)),
    "the fixed component": (lm.partial(minus, x), lm.partial(minus, x, at=1)),
}


@pytest.mark.parametrize("change", DIFFERENT)
def test_addresses_differ_with_anything_else(change):
    left, right = DIFFERENT[change]
    assert left.address != right.address


def test_vmap_distributes_in_values():
    np.testing.assert_allclose((lm.vmap(row) >> lm.vmap(row))(x), lm.vmap(row >> row)(x), rtol=1e-6)


def test_currying_gives_back_what_was_uncurried():
    np.testing.assert_array_equal(lm.curry(minus)(x)(2 * x), minus((x, 2 * x)))
    assert lm.apply(minus, (x, x)).tolist() == minus((x, x)).tolist()


def test_parallel_is_a_branch_of_picks():
    by_hand = lm.branch(lm.pick(0) >> f, lm.pick(1) >> g)
    assert by_hand.term == (f @ g).term
    assert (pairs >> by_hand).address == (pairs >> (f @ g)).address
    longer = lm.branch(f, g, h) >> by_hand  # the branch of picks takes any longer tuple
    assert longer.address == lm.branch(f >> f, g >> g).address


# --- programs ---


def names(model):
    return [node.op.name for node in model.program.nodes]


def test_a_tap_computes_nothing_more():
    model = f >> lm.branch(a=g >> h, b=sine)
    tapped = lm.tap(model, "f", "branch/a/g", "branch/b")
    assert names(tapped) == names(model)
    value, seen = tapped(x)
    np.testing.assert_allclose(seen["branch/a/g"], g(f(x)), rtol=1e-5)
    assert list(seen) == sorted(seen) == ["branch/a/g", "branch/b", "f"]
    np.testing.assert_allclose(value["b"], seen["branch/b"])


def test_a_tap_sees_through_names():
    model = f >> lm.named(g >> h, "body")
    assert names(lm.tap(model, "body/g")) == ["f", "g", "h"]
    np.testing.assert_allclose(lm.tap(model, "body/g")(x)[1]["body/g"], g(f(x)), rtol=1e-5)


def test_joins_are_one_function_wherever_they_are_made():
    model = lm.branch(lm.add(f, g), lm.add(f, g), lm.residual(f), lm.residual(f))
    assert names(model) == ["f", "g", "add", "add"]


def test_equal_constants_are_one():
    model = sine >> lm.branch(lm.const(x), lm.const(x), lm.const(v))
    assert names(model) == ["const", "const"]


def test_fresh_parts_are_trained_apart():
    both = f & lm.fresh(f)
    assert names(both) == ["f", "f"]
    moved = lm.succ(both, {"0": jax.tree.map(jnp.zeros_like, f.weights), "1": f.weights})
    np.testing.assert_array_equal(moved(x)[1], f(x))
    tied = lm.fresh(f >> f)
    assert list(tied.weights) == ["f"]
    assert jax.tree.leaves(lm.fresh(lm.freeze(f))) == []


def test_fresh_open_parts_are_closed_apart():
    import flax.linen as nn

    part = lm.lift(nn.Dense(4))
    model = (part >> lm.fresh(part)).init(jax.random.key(0), x)
    assert list(model.weights) == ["Dense", "Dense_1"]


def test_remat_stays_in_the_program():
    assert names(lm.remat(f)) == ["remat"]
    assert "prevent_cse" in str(jax.make_jaxpr(lm.remat(f))(x))  # a parameter of jax.checkpoint


def test_open_bodies_are_closed_by_init():
    import flax.linen as nn

    model = lm.residual(lm.lift(nn.Dense(4))) >> lm.cond(positive, lm.lift(nn.Dense(2)), narrow2)
    closed = model.init(jax.random.key(0), x)
    assert closed(x).shape == (3, 2)


narrow2 = dense(4, 2, 4, "narrow2")


def test_names_are_used_in_paths_and_errors():
    model = lm.named(f >> g, "body") >> lm.named(narrow, "head")
    assert str(model) == "body >> head"
    assert list(model.weights) == ["body", "head"]
    assert list(model.weights["body"]) == ["f", "g"]
    with pytest.raises(lm.MismatchError, match="^head does not compose with f:\n  head gives"):
        model >> f
    assert str(lm.named(lm.named(f >> g, "one"), "two")) == "two"


# --- types ---

TYPES = {
    "cond": (lm.cond(positive, f, g), "<(positive & identity) >> switch(g, f): "
             "float32[b, 4] -> float32[b, 4]>"),
    "vmap": (lm.vmap(f), "<vmap(f): float32[n, b, 4] -> float32[n, b, 4]>"),
    "scan": (lm.scan(step), "<scan(step): (float32[4], float32[n, 4]) -> "
             "(float32[4], float32[n])>"),
    "iterate": (lm.iterate(row, n=3), "<iterate(row, 3): float32[4] -> float32[4]>"),
    "until": (lm.iterate(half, until=settled), "<until(half, settled): float32[4] -> float32[4]>"),
    "remat": (lm.remat(f), "<remat(f): float32[b, 4] -> float32[b, 4]>"),
    "parallel": (f @ row, "<((pick(0) >> f) & (pick(1) >> row)): (float32[b, 4], float32[4]) -> "
                 "(float32[b, 4], float32[4])>"),
    "partial": (lm.partial(minus, x), "float32[3, 4] -> float32[3, 4]>"),
    "const": (lm.const(1), ": ? -> int32[]>"),
    "const after": (f >> lm.const(1), ">> const: float32[b, 4] -> int32[]>"),
    "concat": (lm.concat(f, narrow), "<(f & narrow) >> concat: float32[b, 4] -> float32[b, 7]>"),
    "unknown": (lm.vmap(lm.lift(jnp.sin)), "<vmap(sin): ? -> ?>"),
    "known later": (lm.lift(jnp.cos, input="float32[b, 4]") >> lm.vmap(lm.lift(jnp.sin)),
                    "<cos >> vmap(sin): float32[b, 4] -> float32[b, 4]>"),
}  # fmt: skip


@pytest.mark.parametrize("case", TYPES)
def test_types_follow_from_the_parts(case):
    model, wanted = TYPES[case]
    assert repr(model).endswith(wanted)


def test_the_dimensions_of_parallel_parts_are_their_own():
    renamed = dense(4, 4, 0, "f", b="n")
    assert (f @ g).address == (renamed @ g).address
    shapes = [leaf.shape for leaf in (f @ g)((x, x[:1]))]
    assert shapes == [(3, 4), (1, 4)]


# --- refusals ---

REFUSED = {
    "cond of numbers": (
        lambda: lm.cond(f, f, g), lm.MismatchError,
        "switch takes (index, x), a whole number or truth value and what to choose with it; it was "
        "given (float32[b, 4], float32[b, 4])",
    ),
    "choices of two types": (
        lambda: lm.cond(positive, f, narrow), lm.MismatchError,
        "the choices of a switch must give one type: choice 1 gives float32[b, 4], and choice 0 "
        "gives float32[b, 3]",
    ),
    "no choices": (
        lambda: lm.switch(which, []), lm.SpecError, "switch takes at least one model",
    ),
    "iterate without an end": (
        lambda: lm.iterate(f), lm.SpecError,
        "iterate takes how often, or until when, and not both: write iterate(f, n=3) or "
        "iterate(f, until=p)",
    ),
    "iterate with two ends": (
        lambda: lm.iterate(f, n=1, until=g), lm.SpecError,
        "iterate takes how often, or until when, and not both: write iterate(f, n=3) or "
        "iterate(f, until=p)",
    ),
    "iterate backwards": (
        lambda: lm.iterate(f, n=-1), lm.SpecError,
        "iterate takes a whole number of times from 0, and got -1",
    ),
    "half a repetition": (
        lambda: lm.repeat(f, 0.5), lm.SpecError,  # type: ignore[arg-type]
        "repeat takes a whole number of times from 0, and got 0.5",
    ),
    "iterate what changes the type": (
        lambda: lm.iterate(narrow, n=2), lm.MismatchError,
        "the body of an iteration must give the type that it takes: it takes float32[b, 4], and "
        "it gives float32[b, 3]",
    ),
    "until what is no truth value": (
        lambda: lm.iterate(f, until=g), lm.MismatchError,
        "until= must give one truth value, bool[]; it gives float32[b, 4]",
    ),
    "a scan that loses its state": (
        lambda: lm.scan(minus), lm.MismatchError,
        "the body of a scan takes (state, x) and gives (state, y): the state is float32[b, 4], "
        "and the body gives float32[b, 4]",
    ),
    "a map over a number": (
        lambda: lm.vmap(lm.lift(jnp.sin))(jnp.float32(1)), lm.MismatchError,
        "vmap takes arrays with one first axis, which it maps over; it was given float32[]",
    ),
    "parallel both ways": (
        lambda: lm.parallel(f, a=g), lm.SpecError,
        "parallel takes models by position, or by name, not both: write parallel(f, g) or "
        "parallel(a=f, b=g)",
    ),
    "sum of two shapes": (
        lambda: lm.add(f, narrow), lm.MismatchError,
        "add joins what is of one type, and nothing is broadcast or promoted: f gives "
        "float32[b, 4], and narrow gives float32[b, 3]. Reshape or cast one of them first.",
    ),
    "product of two dtypes": (
        lambda: lm.multiply(f, lm.lift(lambda x: x.astype("int32"), name="whole")),
        lm.MismatchError,
        "multiply joins what is of one type, and nothing is broadcast or promoted: f gives "
        "float32[b, 4], and whole gives int32[b, 4]. Reshape or cast one of them first.",
    ),
    "a sum known late": (
        lambda: f >> lm.residual(lm.lift(lambda x: x[:, :2], name="cut")), lm.MismatchError,
        "residual joins what is of one type, and nothing is broadcast or promoted: identity gives "
        "float32[b, 4], and cut gives float32[b, 2]. Reshape or cast one of them first.",
    ),
    "concat across": (
        lambda: lm.concat(f, narrow, axis=0), lm.MismatchError,
        "concat joins what is of one type, and nothing is broadcast or promoted: f gives "
        "float32[b, 4], and narrow gives float32[b, 3]. Reshape or cast one of them first.",
    ),
    "an axis too far": (
        lambda: lm.concat(f, g, axis=2), lm.MismatchError,
        "concat along axis 2: float32[b, 4] has no such axis",
    ),
    "an unknown reduction": (
        lambda: lm.ensemble([f, g], reduce="median"), lm.SpecError,
        "reduce= is 'mean', 'sum' or 'max', or a function of the tuple of what the members give; "
        "got 'median'",
    ),
    "a router for three": (
        lambda: lm.mixture(narrow, [f, g]), lm.MismatchError,
        "a mixture of 2 experts needs a router that gives [..., 2], and experts that begin with "
        "the same axes and have its dtype: the router gives float32[b, 3], and an expert "
        "float32[b, 4]",
    ),
    "a constant text": (
        lambda: lm.const("one"), lm.SpecError,
        "'one' is no constant: give an array, a number, or a tuple or dict of these",
    ),
    "a name with a slash": (
        lambda: lm.named(f, "a/b"), lm.SpecError,
        "'a/b' is no name for a part: give a text that is not empty and has no '/'",
    ),
    "a tap into nothing": (
        lambda: lm.tap(f >> lm.branch(a=g, b=h), "branch/c"), lm.MissingError,
        "f >> branch(a=g, b=h) has no part at 'branch/c' to tap: its paths are 'f', 'branch', "
        "'branch/a', 'branch/b'",
    ),
    "a third of a pair": (
        lambda: lm.partial(minus, x, at=2), lm.SpecError,
        "minus takes (float32[b, 4], float32[b, 4]), which has no component 2 to fix",
    ),
    "a function": (
        lambda: lm.residual(jnp.tanh), lm.SpecError,  # type: ignore[arg-type]
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", REFUSED)
def test_mistakes_are_refused(mistake):
    make, error, text = REFUSED[mistake]
    with pytest.raises(error) as raised:
        make()
    if text is None:
        assert str(raised.value).startswith("residual takes models, and got ")
    else:
        assert str(raised.value).startswith(text)  # where it was made may follow


def test_a_fixed_component_of_another_type_is_refused():
    with pytest.raises(lm.MismatchError) as raised:
        lm.partial(minus, jnp.ones(3))
    text = str(raised.value)
    assert text.startswith(
        "the fixed component 0 does not compose with minus:\n"
        "  the fixed component 0 gives float32[3]\n      made at "
    )
    assert "test_combinators.py:" in text


def test_composing_leaves_its_operands_as_they_were():
    before = (repr(f), f.address, repr(g), g.address)
    f @ g, lm.add(f, g), lm.named(f, "k"), lm.fresh(f), lm.cond(positive, f, g), lm.tap(f >> g, "f")
    assert (repr(f), f.address, repr(g), g.address) == before
    with pytest.raises(TypeError, match="unsupported operand"):
        f @ 3  # type: ignore[operator]


def test_joins_of_one_kind_are_traced_once():
    one, other = lm.add(f, f), lm.add(g, lm.identity)
    assert one.term.parts[-1].function.known is other.term.parts[-1].function.known
    assert lm.stack(f, f).term.parts[-1].function.known is not one.term.parts[-1].function.known
