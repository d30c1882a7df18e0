"""Learning rates by path: another optimiser, with the updates of some weights scaled."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parts import dense, rows

import lamda as lm

KEY = jax.random.key(0)
model = lm.named(dense(4, 8, 0, "one") >> dense(8, 8, 1, "two"), "encoder") >> dense(
    8, 2, 2, "head"
)
x, t = rows(30, 4), rows(30, 2, 1)


def squared(y, target):
    return ((y - target) ** 2).sum(-1)


def run(optimizer, start=model, **changes):
    given = {"loss": squared, "steps": 12, "batch": 8, "key": KEY, "progress": False}
    return lm.fit(start, (x, t), optimizer=optimizer, **(given | changes))


def flat(weights):
    """The weights by path."""
    found, _ = jax.tree_util.tree_flatten_with_path(weights)
    return {"/".join(k.key for k in path): np.asarray(leaf) for path, leaf in found}


def scaled(patterns, weights=None):
    """The factor of every weight: updates of ones by an optimiser that leaves them."""
    ones = jax.tree.map(jnp.ones_like, model.weights if weights is None else weights)
    optimizer = lm.rates(optax.identity(), patterns)
    updates, _ = optimizer.update(ones, optimizer.init(ones))
    return {path: float(value.ravel()[0]) for path, value in flat(updates).items()}


def test_sgd_is_that_of_multi_transform():
    factors = {"encoder/one": 0.1, "head": 2.0}
    labels = jax.tree_util.tree_map_with_path(lambda path, _: path[-2].key, model.weights)
    by_hand = optax.multi_transform(
        {"one": optax.sgd(1e-4), "two": optax.sgd(1e-3), "head": optax.sgd(2e-3)}, labels
    )
    ours, theirs = run(lm.rates(optax.sgd(1e-3), factors)), run(by_hand)
    for path, value in flat(theirs.weights).items():
        np.testing.assert_allclose(flat(ours.weights)[path], value, rtol=1e-6, atol=1e-7)


def test_adam_and_decay_are_those_of_other_rates():
    # Every update of adamw, its decay too, is a multiple of its rate.
    def by_hand(steps):
        slow, fast = optax.adamw(1e-3), optax.adamw(1e-2)
        weights = model.weights
        states = slow.init(weights), fast.init(weights)

        def loss(weights):
            return squared(model.apply(weights, x), t).mean()

        for _ in range(steps):
            gradient = jax.grad(loss)(weights)
            (u, one), (v, two) = (o.update(gradient, s, weights)
                                  for o, s in zip((slow, fast), states, strict=True))  # fmt: skip
            states = one, two
            weights = optax.apply_updates(weights, {"encoder": u["encoder"], "head": v["head"]})
        return weights

    optimizer = lm.rates(optax.adamw(1e-2), {"encoder/**": 0.1})
    ours = run(optimizer, steps=9, batch=30).weights
    for path, value in flat(by_hand(9)).items():
        np.testing.assert_allclose(flat(ours)[path], value, rtol=1e-5, atol=1e-6)


def test_rates_follow_a_schedule():
    schedule = optax.linear_schedule(0.1, 0.0, 10)
    optimizer = lm.rates(optax.sgd(schedule), {"head": 0.5})
    weights = jax.tree.map(jnp.ones_like, model.weights)
    state = optimizer.init(weights)
    for step in range(3):
        updates, state = optimizer.update(weights, state)
        found = updates["head"]["bias"][0], updates["encoder"]["one"]["bias"][0]
        np.testing.assert_allclose(found, [-0.5 * schedule(step), -schedule(step)], rtol=1e-6)


def test_a_pattern_is_a_path_as_in_select():
    names = [f"{part}/{leaf}" for part in ("encoder/one", "encoder/two", "head")
             for leaf in ("bias", "kernel")]  # fmt: skip
    cases = {
        "encoder": {name for name in names if name.startswith("encoder")},
        "encoder/**": {name for name in names if name.startswith("encoder")},
        "encoder/*/bias": {"encoder/one/bias", "encoder/two/bias"},
        "**/bias": {name for name in names if name.endswith("bias")},
        "enc*/t?o": {"encoder/two/bias", "encoder/two/kernel"},
        "*": set(names),
        "": set(names),
    }
    for pattern, wanted in cases.items():
        factors = scaled({pattern: 0.5})
        assert {name for name, factor in factors.items() if factor == 0.5} == wanted, pattern
        assert {name for name, factor in factors.items() if factor == 1} == set(names) - wanted


def test_the_last_pattern_that_matches_wins():
    one = scaled({"**": 0.5, "encoder": 0.25, "**/bias": 2.0})
    assert (one["head/kernel"], one["encoder/one/kernel"], one["encoder/one/bias"]) == (
        0.5,
        0.25,
        2,
    )
    other = scaled({"**/bias": 2.0, "encoder": 0.25, "**": 0.5})
    assert set(other.values()) == {0.5}


def test_at_rate_nought_a_weight_stays_as_it_is():
    fitted = run(lm.rates(optax.adamw(0.1), {"encoder": 0}))
    for path, value in flat(fitted.weights).items():
        same = np.array_equal(value, flat(model.weights)[path])
        assert same == path.startswith("encoder"), path
    optimizer = lm.rates(optax.identity(), {"encoder": 0})
    broken = jax.tree.map(lambda w: w * jnp.nan, model.weights)
    updates, _ = optimizer.update(broken, optimizer.init(broken))
    assert not np.asarray(updates["encoder"]["one"]["bias"]).any()


def test_rates_of_one_are_the_optimiser():
    one, other = run(lm.rates(optax.adam(0.1), {"encoder": 1})), run(optax.adam(0.1))
    assert one.address == other.address
    assert one.receipt == other.receipt
    assert run(lm.rates(optax.adam(0.1), {"encoder": 0.5})).receipt != other.receipt


def test_updates_keep_their_dtype():
    weights = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.float16)}
    optimizer = lm.rates(optax.sgd(1.0), {"*": 0.5})
    updates, _ = optimizer.update(weights, optimizer.init(weights), weights)
    assert jax.tree.map(lambda u: u.dtype.name, updates) == {"a": "bfloat16", "b": "float16"}


def test_frozen_parts_are_not_there():
    half = lm.freeze(model, "encoder")
    fitted = run(lm.rates(optax.sgd(0.05), {"head/bias": 0}), half)
    np.testing.assert_array_equal(fitted.weights["head"]["bias"], model.weights["head"]["bias"])
    with pytest.raises(lm.MissingError, match="'encoder' matches no weight"):
        run(lm.rates(optax.sgd(0.05), {"encoder": 0.1}), half)


def test_it_is_an_optimiser_among_others():
    inner = lm.rates(optax.scale_by_adam(), {"encoder": 0.5})
    chained = optax.chain(optax.clip_by_global_norm(1.0), inner, optax.scale(-1e-2))
    assert run(optax.MultiSteps(chained, 2)).address != run(chained).address
    # What asks for the loss is given it through the wrapper.
    plateau = optax.chain(optax.sgd(0.05), optax.contrib.reduce_on_plateau(patience=2))
    weights = model.weights
    outer = lm.rates(plateau, {"head": 0.5})
    updates, _ = outer.update(weights, outer.init(weights), weights, value=jnp.float32(1))
    plain, _ = plateau.update(weights, plateau.init(weights), weights, value=jnp.float32(1))
    np.testing.assert_array_equal(updates["head"]["bias"], plain["head"]["bias"] * 0.5)


def test_weights_of_one_part_have_the_empty_path():
    line = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[]", name="line")
    optimizer = lm.rates(optax.identity(), {"**": 0.5})
    assert optimizer.update(line.weights, optimizer.init(line.weights))[0] == 1.0


def test_trees_of_other_libraries_have_paths():
    weights = {"layers": [jnp.ones(2), jnp.ones(2)], "pair": (jnp.ones(1), jnp.ones(1))}
    optimizer = lm.rates(optax.identity(), {"layers/0": 0.5, "pair/1": 0.25})
    updates, _ = optimizer.update(weights, optimizer.init(weights))
    assert jax.tree.map(lambda u: float(u[0]), updates) == {
        "layers": [0.5, 1.0],
        "pair": (1.0, 0.25),
    }


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(lm.MissingError) as error:
        run(lm.rates(optax.sgd(0.05), {"head": 1, "encoder/three": 0.1}))
    assert str(error.value) == (
        "'encoder/three' matches no weight that is trained; their paths are encoder/one/bias, "
        "encoder/one/kernel, encoder/two/bias, encoder/two/kernel, head/bias, head/kernel"
    )


@pytest.mark.parametrize(
    "given",
    [{}, [("a", 1)], {"a": -0.1}, {"a": float("nan")}, {"a": float("inf")}, {"a": "1"}, {3: 1.0}],
)
def test_what_is_no_rate_is_refused(given):
    with pytest.raises(lm.SpecError, match="rates are patterns of paths, each with a finite"):
        lm.rates(optax.sgd(0.1), given)
