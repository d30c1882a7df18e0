"""Search: many heads and settings, trained at once; each is what fit gives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parts import dense, rows

import lamda as lm
from lamda import errors
from lamda.evaluate import run as run_graph
from lamda.fit import Ranking
from lamda.fit.order import Order
from lamda.fit.plan import Plan
from lamda.fit.search import groups, trials
from lamda.fit.search.settings import factory_of, settings
from lamda.fit.search.together import Together, stack
from lamda.fit.split import Split

KEY = jax.random.key(0)
inputs, labels = rows(40, 4), jax.random.randint(jax.random.key(5), (40,), 0, 3)
held = rows(20, 4, 1), jax.random.randint(jax.random.key(6), (20,), 0, 3)
body = dense(4, 8, 0, "body")
COMMON = {"steps": 30, "batch": 8, "key": KEY, "progress": False}


def entropy(logits, label):
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, label)


def dropout(x, key=None):
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x * 2, jnp.zeros_like(x))


def head(seed, width=8):
    return lm.fine_tune_head(body, dense(width, 3, seed, "head"))


def run(candidates, **changes) -> Ranking:
    given = {"loss": entropy, "optimizer": optax.adam(1e-2)} | COMMON
    return lm.search(candidates, (inputs, labels), **(given | changes))


def fitted(model, optimizer, **changes):
    given = {"loss": entropy, "optimizer": optimizer} | COMMON
    return lm.fit(model, (inputs, labels), **(given | changes))


def assert_near(one, other):
    """A few ulps a step: a batched product adds in another order."""
    for a, b in zip(jax.tree.leaves(one.weights), jax.tree.leaves(other.weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def decayed(learning_rate, decay):
    return optax.adamw(learning_rate, weight_decay=decay)


def clipped(learning_rate, most):
    return optax.chain(optax.clip_by_global_norm(most), optax.sgd(learning_rate, momentum=0.9))


def scheduled(learning_rate, steps):
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps))


FACTORIES = {
    "sgd": (optax.sgd, {"learning_rate": [0.1, 0.01], "momentum": [0.0, 0.9]}),
    "adam": (optax.adam, {"learning_rate": [1e-2, 1e-3]}),
    "adamw": (decayed, {"learning_rate": [1e-2, 1e-3], "decay": [0.0, 0.1]}),
    "clipped": (clipped, {"learning_rate": [1e-2, 1e-3], "most": [0.1, 1]}),
    "a schedule of so many steps": (scheduled, {"learning_rate": [1e-2, 1e-3], "steps": [10, 20]}),
    "switches": (optax.adam, {"learning_rate": [1e-2, 1e-3], "nesterov": [False, True]}),
    "a list": (optax.sgd, [{"learning_rate": 0.1}, {"learning_rate": 0.02, "momentum": 0.5}]),
    "none": (optax.adam(1e-2), None),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_each_is_what_fit_gives(name):
    factory, grid = FACTORIES[name]
    heads = [head(1), head(2)]
    found = run(heads, optimizer=factory, grid=grid)
    assert len(found) == 2 * len(settings(grid))
    for row in (found[0], found[-1]):
        alone = fitted(heads[row.candidate], factory_of(factory, grid)(**row.settings))
        assert_near(row.model, alone)
        assert lm.pred(row.model) is heads[row.candidate]
        assert row.loss == pytest.approx(alone.receipt.final, rel=1e-5)


@pytest.mark.parametrize(
    "changes", [{"accumulate": 2}, {"epochs": 3, "steps": None}, {"batch": 50}]
)
def test_each_is_what_fit_gives_with_other_options(changes):
    found = run([head(1), head(2)], **changes)
    for row in found:
        assert_near(row.model, fitted(head(row.candidate + 1), optax.adam(1e-2), **changes))


def test_in_bfloat16_it_is_near_what_fit_gives():
    for row in run([head(1), head(2)], dtype="bfloat16"):
        other = fitted(head(row.candidate + 1), optax.adam(1e-2), dtype="bfloat16")
        for a, b in zip(*(jax.tree.leaves(m.weights) for m in (row.model, other)), strict=True):
            np.testing.assert_allclose(a, b, atol=0.02)


def test_what_is_drawn_is_what_fit_draws():
    heads = [lm.freeze(body) >> lm.lift(dropout) >> dense(8, 3, seed, "head") for seed in (1, 2)]
    found = run(heads, optimizer=optax.adam, grid={"learning_rate": [0.01, 0.1]})
    for row in (found[0], found[-1]):
        assert_near(row.model, fitted(heads[row.candidate], optax.adam(**row.settings)))


def test_what_diverges_is_last_and_ends_no_other():
    grid = {"learning_rate": [1e30, 0.1, 0.01]}
    found = run(head(1), optimizer=optax.sgd, grid=grid, loss=lambda y, t: entropy(y, t) * y[:, 0])
    *good, last = found
    assert [row.diverged for row in good] == [None, None]
    assert all(np.isfinite(row.loss) for row in good)
    assert last.settings["learning_rate"] == 1e30
    with pytest.raises(lm.DivergedError) as error:
        fitted(head(1), optax.sgd(1e30), loss=lambda y, t: entropy(y, t) * y[:, 0])
    assert last.diverged == error.value.step
    assert_near(last.model, error.value.model)
    assert last.model.receipt is None
    assert f"diverged at step {last.diverged}" in str(found)


def test_one_that_diverges_alone_is_last_too():
    grid = [{"learning_rate": 1e30}, {"learning_rate": 0.1, "nesterov": True, "momentum": 0.9}]
    found = run(head(1), optimizer=optax.sgd, grid=grid, loss=lambda y, t: entropy(y, t) * y[:, 0])
    assert [row.diverged is None for row in found] == [True, False]


def test_where_all_diverge_there_is_no_best():
    found = run(head(1), optimizer=optax.sgd, grid={"learning_rate": [1e30, 1e31]},
                loss=lambda y, t: entropy(y, t) * y[:, 0])  # fmt: skip
    with pytest.raises(lm.DivergedError) as error:
        _ = found.best
    step = found[0].diverged
    assert str(error.value) == (
        f"each of the 2 that were trained diverged, the first at step {step}; .rows has the last "
        "model of each whose loss was finite. Lower the learning rates, or look at the data."
    )
    assert error.value.model is found[0].model


def test_ranked_by_the_loss_seen_or_held_out_or_a_metric():
    grid = {"learning_rate": [1e-4, 1e-2, 1e-1]}
    seen = run([head(1), head(2)], optimizer=optax.adam, grid=grid)
    assert [row.loss for row in seen] == sorted(row.loss for row in seen)
    out = run([head(1), head(2)], optimizer=optax.adam, grid=grid, eval=held)
    assert [row.eval for row in out] == sorted(row.eval for row in out)
    logits = out.best(held[0])
    assert out[0].eval == pytest.approx(float(entropy(logits, held[1]).mean()), rel=1e-5)
    best = run([head(1), head(2)], optimizer=optax.adam, grid=grid, eval=held, metric="accuracy")
    shares = [row.metric for row in best]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]
    right = best.best(held[0]).argmax(-1) == held[1]
    assert shares[0] == pytest.approx(float(right.mean()), rel=1e-6)

    def wrong(logits, label):
        return logits.argmax(-1) != label

    least = run([head(1), head(2)], optimizer=optax.adam, grid=grid, eval=held, metric=wrong,
                least=True)  # fmt: skip
    assert [round(1 - row.metric, 5) for row in least] == [round(share, 5) for share in shares]
    assert [found.by for found in (seen, out, best, least)] == [
        "the least loss in training", "the least loss on held-out data",
        "the greatest accuracy on held-out data", "the least wrong on held-out data",
    ]  # fmt: skip


def test_the_table():
    found = run([head(1), head(2)], optimizer=optax.adam,
                grid={"learning_rate": [0.1, 0.01], "nesterov": [True]}, eval=held,
                metric="accuracy")  # fmt: skip
    first, names, *lines = str(found).splitlines()
    assert first == "4 trained, best first by the greatest accuracy on held-out data"
    assert names.split() == [
        "candidate", "learning_rate", "nesterov", "loss", "eval", "accuracy"
    ]  # fmt: skip
    row = found[0]
    assert lines[0].split() == [
        "1", str(row.candidate), "body", ">>", "head", f"{row.settings['learning_rate']:g}",
        "True", f"{row.loss:.5g}", f"{row.eval:.5g}", f"{row.metric:.5g}",
    ]  # fmt: skip
    assert len({line.index("True") for line in lines}) == 1


def test_a_ranking_is_a_value():
    found = run([head(1), head(2)])
    assert list(found) == list(found.rows)
    with pytest.raises(AttributeError):
        found.rows = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        found[0].settings["learning_rate"] = 1  # type: ignore[index]


def grouped(heads, optimizer, grid=None):
    factory = factory_of(optimizer, grid)
    made = [(each, factory(**each)) for each in settings(grid)]
    return groups.grouped(heads, made, factory, lambda m, o: Plan.of(m, entropy, o, KEY))


def test_what_is_one_program_is_one_group():
    heads = [head(seed) for seed in range(5)]
    grid = {"learning_rate": [0.1, 0.2], "nesterov": [True, False]}
    found = grouped(heads, optax.adam, grid)
    assert [len(group.members) for group in found] == [10, 10]
    assert [group.traced for group in found] == [["learning_rate"]] * 2
    wide = lm.freeze(body) >> dense(8, 5, 1, "head") >> dense(5, 3, 2, "last")
    assert [len(g.members) for g in grouped([heads[0], wide, heads[1]], optax.sgd(1.0))] == [2, 1]


def test_other_frozen_weights_are_another_group():
    """Their programs are equal; what they compute is not."""
    other = dense(4, 8, 7, "body")
    first, second = dense(8, 8, 1, "middle"), dense(8, 3, 2, "last")
    pairs = {
        "before": [lm.freeze(b) >> second for b in (body, other)],
        "behind": [
            first >> lm.freeze(dense(8, 3, seed, "last")) for seed in (2, 3)
        ],
    }  # fmt: skip
    assert pairs["before"][0].program == pairs["before"][1].program
    assert {name: len(grouped(pair, optax.sgd(1.0))) for name, pair in pairs.items()} == {
        "before": 2, "behind": 2,
    }  # fmt: skip
    for row in run(pairs["before"]):
        assert_near(row.model, fitted(pairs["before"][row.candidate], optax.adam(1e-2)))


def test_weights_are_told_apart_by_their_paths():
    """The optimiser may treat them by path, as lm.rates does."""
    pair = lm.branch(dense(4, 3, 1, "left"), dense(4, 3, 2, "right"))
    less = lm.lift(lambda pair: pair[0] - pair[1], name="less")
    models = [pair >> less, pair >> lm.swap >> less]
    assert models[0].program == models[1].program
    for row in run(models, optimizer=lm.rates(optax.sgd(0.1), {"branch/0": 0.0})):
        before, after = lm.pred(row.model).weights["branch"], row.model.weights["branch"]
        np.testing.assert_array_equal(after["0"]["kernel"], before["0"]["kernel"])
        assert np.abs(after["1"]["kernel"] - before["1"]["kernel"]).max() > 0


def branching(learning_rate, decay):
    if decay > 0:  # asks for the number
        return optax.adamw(learning_rate, weight_decay=decay)
    return optax.adam(learning_rate)


def test_what_must_be_known_is_a_program_of_its_own(capsys):
    grid = {"learning_rate": [0.1, 0.01], "decay": [0.0, 0.1]}
    found = grouped([head(1)], branching, grid)
    assert [(group.traced, group.lost) for group in found] == [(["learning_rate"], ["decay"])] * 2
    ranking = run(head(1), optimizer=branching, grid=grid, progress=True)
    said = (
        "fit: the optimiser must know decay to be made, so each value is a program of its own, "
        "which takes longer\n"
    )
    assert said in capsys.readouterr().err
    for row in ranking:
        assert_near(row.model, fitted(head(1), branching(**row.settings)))


def test_one_step_of_many_is_one_batched_step():
    heads = [head(seed) for seed in range(6)]
    (group,) = grouped(heads, optax.adam, {"learning_rate": [0.1, 0.2]})
    programs = Together(group.plan.step, group.make)
    weights = stack([each.model.weights for each in group.members])
    numbers = stack([group.numbers(member) for member in group.members])
    features = (jnp.ones((8, 8)),)
    state = jax.eval_shape(programs._init, weights, numbers)

    def step(weights, state, features, label):
        from lamda.fit.search.together import Carry

        carry = Carry(weights, state, weights, jnp.ones(12, bool))
        return programs._step(carry, numbers, features, label, None)

    text = str(jax.make_jaxpr(step)(weights, state, features, labels[:8]))
    assert text.count("dot_general[") == 2  # the head and the gradient of its kernel, of all
    assert "scan" not in text


def test_the_frozen_part_runs_once_for_all(monkeypatch):
    from lamda.fit import features

    features.forget()
    calls = []
    computed = features._computed
    monkeypatch.setattr(features, "_computed", lambda *a: calls.append(1) or computed(*a))
    fresh = dense(4, 8, 11, "body")
    heads = [lm.fine_tune_head(fresh, dense(8, 3, seed, "head")) for seed in range(4)]
    wide = lm.freeze(fresh) >> dense(8, 5, 1, "head") >> dense(5, 3, 2, "last")
    run([*heads, wide], optimizer=optax.adam, grid={"learning_rate": [0.1, 0.2]})
    assert len(calls) == 1


def test_a_stored_program_is_mapped_one_after_the_other(tmp_path):
    store = lm.Store(tmp_path)
    heads = []
    for seed in (1, 2):
        store.put(dense(4, 3, seed, "head"), ref=f"h{seed}")
        heads.append(store.get(f"h{seed}"))
    grid = {"learning_rate": [0.1, 0.01]}
    for row in run(heads, optimizer=optax.adam, grid=grid):
        assert_near(row.model, fitted(heads[row.candidate], optax.adam(**row.settings)))


@pytest.mark.parametrize("together", [1, 2, 9])
def test_so_many_at_once_and_the_same_weights(together):
    grid = {"learning_rate": [0.1, 0.05, 0.02, 0.01, 0.001]}
    found = run(head(1), optimizer=optax.adam, grid=grid, together=together)
    assert sorted(row.settings["learning_rate"] for row in found) == sorted(grid["learning_rate"])
    assert_near(found[0].model, fitted(head(1), optax.adam(**found[0].settings)))
    assert_near(found[-1].model, fitted(head(1), optax.adam(**found[-1].settings)))


def test_one_alone_is_fit_to_the_bit():
    (row,) = run(head(1), optimizer=optax.adam, grid={"learning_rate": [0.01]})
    other = fitted(head(1), optax.adam(0.01))
    assert row.model.address == other.address
    assert row.model.receipt == other.receipt


def test_receipts_say_what_was_trained_beside():
    grid = {"learning_rate": [0.1, 0.01]}
    pair = [head(1), head(2)]
    found, again = (run(pair, optimizer=optax.adam, grid=grid) for _ in range(2))
    assert [row.model.address for row in found] == [row.model.address for row in again]
    receipts = [row.model.receipt.address for row in found]
    assert receipts == [row.model.receipt.address for row in again]
    assert len(set(receipts)) == 4
    alone = fitted(found[0].model.before, optax.adam(**found[0].settings)).receipt
    assert alone.together == ""
    assert found[0].model.receipt.together.startswith("sha256:")
    more = run([*pair, head(3)], optimizer=optax.adam, grid=grid)
    assert not set(receipts) & {row.model.receipt.address for row in more}
    same = lm.Receipt.from_json(found[0].model.receipt.to_json())
    assert same == found[0].model.receipt


def test_two_that_are_alike_have_receipts_of_their_own():
    one, two = run([head(1), head(1)])
    assert one.model.receipt.model == two.model.receipt.model
    assert one.model.receipt.address != two.model.receipt.address


def test_what_a_store_has_is_not_trained_again(tmp_path, monkeypatch, capsys):
    store, pair = lm.Store(tmp_path), [head(1), head(2)]
    options = {"optimizer": optax.adam, "grid": {"learning_rate": [0.1, 0.01]}, "store": store}
    found = run(pair, eval=held, **options)
    trained = []
    train = Together.train
    monkeypatch.setattr(Together, "train", lambda *a: trained.append(1) or train(*a))
    again = run(pair, eval=held, **(options | {"progress": True}))
    assert capsys.readouterr().err.endswith(
        "fit: found 4 in the store, trained before; force=True trains again\n"
    )
    assert not trained
    assert [r.model.address for r in again] == [r.model.address for r in found]
    assert [r._replace(model=0) for r in again] == [r._replace(model=0) for r in found]
    assert lm.pred(again.best) is pair[again[0].candidate]
    run(pair, force=True, **options)
    run([*pair, head(3)], **options)
    assert len(trained) == 2


@pytest.mark.parametrize("name", ["a head", "all trained", "two outputs", "sizes that are fixed"])
def test_what_the_frozen_part_gives_is_known_without_running_it(name):
    """A second fit of a large encoder looks at the store, and traces nothing of it."""
    fixed = lm.lift(lambda x: jnp.concatenate([x, x]), input="float32[b, 8]")
    model = {
        "a head": head(1),
        "all trained": body >> dense(8, 3),
        "two outputs": lm.freeze(body & dense(4, 3, 2)) >> lm.first(dense(8, 3)),
        "sizes that are fixed": lm.freeze(body >> fixed) >> dense(8, 3),
    }[name]
    split = Split.of(model)
    found, _ = split.types(inputs, labels, 8)
    taken = jax.ShapeDtypeStruct((8, 4), jnp.float32)
    traced = jax.eval_shape(lambda x: run_graph(split.front, split._weights(), x), taken)
    assert jax.tree.map(repr, found) == jax.tree.map(repr, traced)


def test_the_rows_of_a_step_are_no_copy_of_all():
    """Each step copied the order of a whole epoch: of many examples, longer than the step."""
    order = Order(KEY, 10, 4)
    whole = np.concatenate([order.rows(step) for step in range(5)])
    assert [sorted(whole[:10]), sorted(whole[10:])] == [list(range(10))] * 2
    assert [len(order.rows(step)) for step in range(5)] == [4] * 5
    assert np.shares_memory(order.rows(0), order.rows(0))
    small = Order(KEY, 3, 8)
    assert [sorted(small.rows(step)) for step in range(3)] == [[0, 1, 2]] * 3


REFUSED = {
    "nothing to train": (lambda: run([head(1), lm.freeze(head(2))]), lm.SpecError,
        "body >> head has nothing to train: every weight is frozen, or it has none"),
    "no candidates": (lambda: run([]), lm.SpecError, "search takes at least one model"),
    "an empty grid": (lambda: run(head(1), optimizer=optax.adam, grid={}), lm.SpecError,
        "grid= has values to try for each setting of the optimiser, or is a list of settings, and "
        "is not empty, such as {'learning_rate': [1e-3, 1e-2]}; got {}"),
    "no values": (lambda: run(head(1), optimizer=optax.adam, grid={"learning_rate": []}),
        lm.SpecError,
        "grid= has values to try for each setting of the optimiser, or is a list of settings, and "
        "is not empty, such as {'learning_rate': [1e-3, 1e-2]}; got {'learning_rate': []}"),
    "no settings": (lambda: run(head(1), optimizer=optax.adam, grid=[]), lm.SpecError,
        "grid= has values to try for each setting of the optimiser, or is a list of settings, and "
        "is not empty, such as {'learning_rate': [1e-3, 1e-2]}; got []"),
    "one value": (lambda: run(head(1), optimizer=optax.adam, grid={"learning_rate": 0.1}),
        lm.SpecError,
        "grid= has a list of values for learning_rate, such as [1e-3, 1e-2]; got 0.1"),
    "another name": (lambda: run(head(1), optimizer=decayed, grid={"lr": [0.1]}), lm.SpecError,
        "decayed(learning_rate, decay) does not take the settings {'lr': 0.1}: missing a required "
        "argument: 'learning_rate'"),
    "a setting that is missing": (lambda: run(head(1), optimizer=decayed), lm.SpecError,
        "decayed(learning_rate, decay) does not take the settings {}: missing a required argument: "
        "'learning_rate'"),
    "an optimiser and a grid": (
        lambda: run(head(1), optimizer=optax.adam(1.0), grid={"learning_rate": [0.1]}),
        lm.SpecError,
        "optimizer= is a function of the settings of grid=, such as optax.adam, or without a grid "
        "an optimiser; got GradientTransformationExtraArgs"),
    "no optimiser": (lambda: run(head(1), optimizer="adam"), lm.SpecError,
        "optimizer= is a function of the settings of grid=, such as optax.adam, or without a grid "
        "an optimiser; got str"),
    "what makes none": (lambda: run(head(1), optimizer=dict, grid={"a": [1]}), lm.SpecError,
        "dict makes no optimiser with init and update; it made dict"),
    "a list as a setting": (lambda: run(head(1), optimizer=lambda a: optax.sgd(a[0]),
        grid={"a": [[0.1], [0.2]]}), lm.SpecError,
        "the setting a is neither a number nor a value that can be compared: [0.1]. A tuple can "
        "be, in place of a list"),
    "a metric without data": (lambda: run(head(1), metric="accuracy"), lm.SpecError,
        "metric= is taken on held-out data: give eval=(inputs, targets)"),
    "no metric": (lambda: run(head(1), metric="f1", eval=held), lm.SpecError,
        "metric= is a function of predictions and targets, or one of accuracy; got 'f1'"),
    "accuracy of no logits": (
        lambda: run(head(1), metric="accuracy", eval=(held[0], jnp.ones((20, 3))),
                    loss=lambda y, t: ((y - (t if t.ndim == 2 else t[:, None])) ** 2).sum(-1)),
        lm.SpecError,
        "accuracy is of logits with one axis more than labels, which are whole numbers; got "
        "float32[8, 3] and float32[8, 3]"),
    "a loss that is no number": (lambda: run(head(1), loss=lambda y, t: (y * 0).argmax(-1)),
        lm.SpecError,
        errors.FIT_LOSS.format(prediction="float32[8, 3]", target="int32[8]", given="int32[8]")),
    "a loss of other targets": (lambda: run(head(1), loss=lambda y, t: y @ t), lm.SpecError,
        "loss(prediction, target) does not take a prediction float32[8, 3] and a target int32[8]: "
        "dot_general requires contracting dimensions to have the same shape, got (3,) and (8,)."),
    "a metric of more": (lambda: run(head(1), eval=held, metric=lambda y, t: y), lm.SpecError,
        "metric(prediction, target) must give one number for each of 8 examples, or one; it gave "
        "float32[8, 3]"),
    "both lengths": (lambda: run(head(1), epochs=2), lm.SpecError,
        "give steps=, or epochs=, and not both; got steps=30 and epochs=2"),
    "none at once": (lambda: run(head(1), together=0), lm.SpecError,
        "together is a whole number from 1, got 0"),
    "a batch of parts": (lambda: run([head(1), head(2)], accumulate=3), lm.SpecError,
        "a batch of 8 has no 3 parts of one size: accumulate= divides it"),
    "other inputs": (lambda: run([head(1), dense(5, 3, 0, "five", "n")]), lm.MismatchError,
        "candidates of a search are trained on the same data, and these take other inputs:\n"
        "  body >> head takes float32[b, 4]\n      made at HERE\n"
        "  five takes float32[n, 5]\n      made at HERE\n"
        "  axis 1: 4 is not 5\n"
        "Search over each by itself, or compose a part before one of them that turns its input "
        "into the other's."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_compiled(name, monkeypatch):
    wrong, kind, text = REFUSED[name]
    compiled = []
    monkeypatch.setattr(Together, "train", lambda *_: compiled.append("together"))
    monkeypatch.setattr(trials, "fit", lambda *_, **__: compiled.append("fit"))
    with pytest.raises(kind) as error:
        wrong()
    assert re.sub(r"made at .*", "made at HERE", str(error.value)) == text
    assert not compiled
