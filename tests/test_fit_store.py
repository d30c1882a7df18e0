"""Training and the store: what was trained before is found, and can be done again."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parts import dense, rows

import lamda as lm
import serve
from lamda.fit import loop
from lamda.fit.examples import given
from lamda.fit.holdout import parted

KEY = jax.random.key(0)
body, head = dense(4, 8, 0, "body"), dense(8, 2, 1, "head")
model = lm.freeze(body) >> head
inputs, targets = rows(30, 4), rows(30, 2, 1)


def squared(y, target):
    return ((y - target) ** 2).sum(-1)


def entropy(y, label):
    return optax.losses.softmax_cross_entropy_with_integer_labels(y, label)


def run(given=model, data=(inputs, targets), **changes):
    how = {"loss": squared, "optimizer": optax.adam(0.05), "steps": 20, "batch": 8, "key": KEY}
    return lm.fit(given, data, progress=False, **(how | changes))


@pytest.fixture
def store(tmp_path):
    return lm.Store(tmp_path / "store")


@pytest.fixture
def taken(monkeypatch):
    """The steps that are taken."""
    count = [0]
    until = loop.Loop._until

    def counted(self, state, *arguments):
        new = until(self, state, *arguments)
        count[0] += new.step - state.step
        return new

    monkeypatch.setattr(loop.Loop, "_until", counted)
    return count


class TestFound:
    def test_what_was_trained_is_not_trained_again(self, store, taken, capsys):
        first = run(store=store)
        again = run(store=store, optimizer=optax.adam(0.05))  # another object, the same program
        assert taken == [20]
        assert (again.address, again.receipt) == (first.address, first.receipt)
        assert lm.pred(again) is model
        np.testing.assert_array_equal(again(inputs), first(inputs))
        lm.fit(
            model, (inputs, targets), loss=squared, optimizer=optax.adam(0.05), steps=20, batch=8,
            key=KEY, store=store,
        )  # fmt: skip
        assert f"found {first.address} in the store, trained before" in capsys.readouterr().err

    def test_what_was_found_is_put_as_it_was(self, store):
        first = run(store=store)
        store.put(run(store=store), ref="m")
        assert len(store.log(first.address)) == 2
        assert lm.reproduce(store, "m", (inputs, targets), progress=False).same

    def test_force_trains_again(self, store, taken):
        first = run(store=store)
        assert run(store=store, force=True).address == first.address and taken == [40]

    @pytest.mark.parametrize(
        "changes",
        [{"steps": 21}, {"key": jax.random.key(1)}, {"optimizer": optax.adam(0.06)}, {"batch": 7},
         {"loss": lambda y, t: 2 * squared(y, t)}, {"data": (inputs, targets + 1)},
         {"given": lm.freeze(body) >> dense(8, 2, 5, "head")}, {"accumulate": 2},
         {"dtype": "bfloat16"}],
    )  # fmt: skip
    def test_what_is_another_run_is_not_found(self, store, taken, changes):
        run(store=store)
        run(store=store, **changes)
        assert taken[0] > 20

    def test_what_is_trained_is_told_apart(self, store, taken):
        """Two parts of one shape: an address does not tell which of them is frozen."""
        one, two = dense(4, 4, 0, "one"), dense(4, 4, 1, "two")
        x, t = rows(30, 4), rows(30, 4, 1)
        first = run(lm.freeze(one) >> two, data=(x, t), store=store)
        second = run(one >> lm.freeze(two), data=(x, t), store=store)
        assert first.receipt.model == second.receipt.model and first.address != second.address
        assert taken == [40]
        other = dense(4, 4, 1, "renamed")
        assert run(lm.freeze(one) >> other, data=(x, t), store=store).address == first.address
        assert taken == [40]

    def test_in_another_process(self, store):
        code = (
            "import lamda as lm, test_fit_store as t\n"
            "def fail(*_): raise SystemExit('a step was taken')\n"
            "t.loop.Loop._until = fail\n"
            f"print(t.run(store=lm.Store({str(store.path)!r})).address)"
        )
        first = run(store=store)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True,
            cwd=Path(__file__).parent, check=False,
        )  # fmt: skip
        assert done.stdout.strip() == first.address, done.stderr[-2000:]

    def test_where_the_notes_are_lost(self, store, taken):
        first = run(store=store)
        run(store=store)
        for folder in (store.path / ".local" / "receipts").iterdir():
            for note in folder.iterdir():
                note.unlink()
            folder.rmdir()
        (store.path / ".local" / "receipts").rmdir()
        assert run(store=store).address == first.address and taken == [20]

    def test_what_was_collected_is_trained_again(self, store, taken):
        run(store=store)
        run(store=store)
        assert store.gc(grace=0).versions == 2
        run(store=store)
        assert taken == [40] and store.verify().clean

    def test_one_that_diverged_leaves_the_last_good_one(self, store):
        with pytest.raises(lm.DivergedError) as caught:
            run(store=store, optimizer=optax.sgd(3.0), steps=200)
        kept = store.get(caught.value.model.address)
        assert np.isfinite(kept(inputs)).all()

    def test_a_receipt_of_an_older_version_is_read(self):
        old = {"model": "sha256:1", "data": "sha256:2", "step": "sha256:3", "key": [0, 0],
               "steps": 3, "batch": 2, "loss": 0.5, "jax": "0.9", "platform": "cpu"}  # fmt: skip
        found = lm.Receipt.from_json(old)
        assert (found.final, found.loss, found.steps) == (0.5, "", 3)


class TestReproduced:
    def test_by_the_store_alone(self, store):
        store.put_data(lm.DataSet.of(inputs, targets), ref="rows")
        fitted = run(data=store.data("rows"))
        store.put(fitted, ref="m")
        done = lm.reproduce(store, "m", progress=False)
        assert done.same and done.found == fitted.address and done.notes == ()
        assert store.log("m")[0].who == fitted.address

    def test_arrays_are_the_data_set_that_they_are(self, store):
        store.put(run(), ref="m")
        with pytest.raises(lm.MissingError, match="which is not in this store: put it by"):
            lm.reproduce(store, "m", progress=False)
        assert lm.reproduce(store, "m", (inputs, targets), progress=False).same
        store.put_data(lm.DataSet.of(inputs, targets))
        assert lm.reproduce(store, "m", progress=False).same
        with pytest.raises(lm.SpecError, match="was trained on the data sha256:.*, and given is"):
            lm.reproduce(store, "m", (inputs, targets + 1), progress=False)

    @pytest.mark.parametrize(
        "changes",
        [{"accumulate": 4}, {"dtype": "bfloat16"}, {"steps": None, "epochs": 2},
         {"key": jax.random.key(3, impl="rbg")}, {"optimizer": optax.lbfgs(memory_size=2)},
         {"every": 4, "eval": (rows(20, 4, 5), rows(20, 2, 6)), "patience": 3, "steps": 400,
          "optimizer": optax.adam(0.2)}],
    )  # fmt: skip
    def test_however_it_was_trained(self, store, changes):
        store.put(run(**changes), ref="m")
        assert lm.reproduce(store, "m", (inputs, targets), progress=False).same

    def test_where_parts_are_random(self, store):
        def dropout(x, key=None):
            return x if key is None else x * jax.random.bernoulli(key, 0.5, x.shape)

        fitted = run(lm.freeze(body) >> lm.lift(dropout) >> head)
        store.put(fitted, ref="m", source=True)
        again = lm.reproduce(store, "m", (inputs, targets), progress=False)
        assert again.same

    def test_what_was_not_trained_is_refused(self, store):
        store.put(model, ref="m")
        with pytest.raises(lm.SpecError, match="m has no receipt with the programs"):
            lm.reproduce(store, "m")

    def test_programs_go_where_the_model_goes(self, store, tmp_path):
        store.put(run(), ref="m")
        other = lm.Store(tmp_path / "other")
        other.put(store.get("m"), ref="m")
        assert store.gc(grace=0).blobs == 0
        assert lm.reproduce(other, "m", (inputs, targets), progress=False).same


def test_frozen_weights_are_no_part_of_a_program(store):
    """An adapter reads weights that are not trained; they stay where they are."""
    large = lm.lora(dense(256, 256, 0, "large"), 2, key=KEY)
    x, t = rows(30, 256), rows(30, 256, 1)
    fitted = run(large, data=(x, t), optimizer=optax.adam(0.01), eval=(x, t), every=10)
    sizes = [len(load()) for load in fitted.remembered("programs").values()]
    assert sum(sizes) < 100_000 < 256 * 256 * 4
    assert squared(fitted(x), t).mean() < squared(large(x), t).mean()
    store.put(fitted, ref="m")
    assert lm.reproduce(store, "m", (x, t), progress=False).same
    assert run(store.get("m"), data=(x, t)).receipt.model == fitted.address


class TestEvolved:
    x = rows(200, 4, 9)
    labels = (x[:, 0] > 0).astype(jnp.int32)

    def first(self, store, noise=0):
        few = self.x[:40], self.labels[:40] ^ noise
        store.put_data(lm.DataSet.of(*few), ref="rows")
        fitted = run(data=store.data("rows"), loss=entropy, steps=5)
        store.put(fitted, ref="m")
        return fitted

    def test_a_version_is_followed_by_what_is_better(self, store):
        fitted = self.first(store)
        store.put_data(store.data("rows").append(self.x[40:], self.labels[40:]), ref="rows")
        done = lm.evolve(store, "m", "rows", steps=100, progress=False)
        assert done.moved and done.after > done.before
        assert done.trained + done.held == 200 and 20 < done.held < 60
        now = store.get("m")
        assert now.address == done.model.address and lm.pred(now).address == fitted.address
        assert now.receipt.model == fitted.address and now.receipt.steps == 100

    def test_its_receipt_is_that_of_the_same_fit(self, store):
        first = self.first(store)
        done = lm.evolve(store, "m", (self.x, self.labels), steps=30, progress=False)
        train, _ = parted(given(model, (self.x, self.labels)), 0.2)
        same = run(first, data=(train.inputs, train.targets), steps=30, loss=entropy)
        assert done.model.address == same.address
        receipt = done.model.receipt
        assert receipt.address == same.receipt.address
        assert receipt.whole == lm.DataSet.of(self.x, self.labels).address
        assert dataclasses.replace(receipt, whole="", holdout=0.0) == same.receipt

    def test_it_can_be_reproduced(self, store):
        self.first(store)
        store.put_data(store.data("rows").append(self.x[40:], self.labels[40:]), ref="rows")
        grown = store.data("rows")
        done = lm.evolve(store, "m", "rows", steps=100, holdout=0.3, progress=False)
        store.put_data(store.data("rows").append(self.x, 1 - self.labels), ref="rows")
        assert done.moved and lm.reproduce(store, "m", progress=False).same
        train, held = parted(given(model, grown), 0.3)
        data = train.inputs, train.targets
        assert lm.reproduce(store, "m", data, progress=False).same
        other = lm.Store(store.path.parent / "other")  # which has the part alone
        other.put(store.get("m"), ref="m")
        with pytest.raises(lm.MissingError, match=f"on the data {grown.address}, which is not in"):
            lm.reproduce(other, "m", progress=False)
        other.put_data(lm.DataSet.of(*data))
        assert lm.reproduce(other, "m", progress=False).same
        with pytest.raises(lm.SpecError, match="was trained on the data sha256:.*, and given is"):
            lm.reproduce(store, "m", (held.inputs, held.targets), progress=False)
        # A version after it that was not evolved is of all of its data.
        fitted = run(store.get("m"), data=store.data("rows"), steps=5, loss=entropy)
        store.put(fitted, ref="m")
        assert fitted.receipt.whole == ""
        assert lm.reproduce(store, "m", progress=False).same

    def test_and_by_nothing_that_is_worse(self, store):
        fitted = self.first(store)
        wrong = self.x, 1 - self.labels
        better = run(fitted, data=(self.x, self.labels), steps=100, loss=entropy)
        store.put(better, ref="m")

        def right(prediction, label):
            return prediction.argmax(-1) != label  # the labels that are given are wrong

        done = lm.evolve(store, "m", wrong, metric=right, progress=False)
        assert not done.moved and done.after < done.before
        assert store.get("m").address == better.address
        assert lm.evolve(store, "m", wrong, metric=right, least=True, progress=False).moved

    def test_what_was_held_out_stays_so(self, store):
        few, many = (given(model, (self.x[:n], self.labels[:n])) for n in (100, 200))
        (train, held), (train_more, held_more) = (parted(each, 0.3) for each in (few, many))
        rows_of = lambda each: {row.tobytes() for row in np.asarray(each.inputs)}  # noqa: E731
        assert rows_of(held) < rows_of(held_more) and rows_of(train) < rows_of(train_more)
        assert not rows_of(held_more) & rows_of(train_more)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [({"holdout": 1.0}, "between 0 and 1; got 1.0"), ({"metric": "f1"}, "f1"),
         ({"data": (x[:5], labels[:5])}, "expected at least 8, the batch of a step")],
    )  # fmt: skip
    def test_what_can_not_be_is_refused(self, store, changes, message):
        self.first(store)
        how = {"data": "rows", "progress": False} | changes
        with pytest.raises(lm.SpecError, match=message):
            lm.evolve(store, "m", **how)

    def test_the_commands(self, store, capsys):
        from lamda.cli import main

        fitted = self.first(store)
        at = ["--store", str(store.path)]
        assert main(["reproduce", "m", *at]) == 0
        assert capsys.readouterr().out.startswith(f"the same\n{fitted.address} is what")
        assert main(["evolve", "m", "--data", "rows", "--json", *at]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (
            said["metric"] == "accuracy"
            and (store.get("m").address == said["model"]) == said["moved"]
        )
        assert main(["reproduce", "m", "--data", "nothing", *at]) == 1
        assert "nothing" in capsys.readouterr().err


def test_from_a_handler_and_its_feedback_to_the_next_version(store, tmp_path, monkeypatch, capsys):
    """The whole way round: served, told what was right, evolved, served again."""
    from lamda.cli import main
    from serve.http import respond

    x = rows(120, 4, 11)
    label = (x[:, 1] > 0).astype(jnp.int32)
    first = run(data=(x[:20], label[:20]), loss=entropy, steps=60)
    store.put(first, ref="m")
    lm.bundle(store.get("m"), tmp_path / "bundle", batch=(1, 8))
    monkeypatch.setenv("LAMDA_FEEDBACK", str(tmp_path / "feedback"))
    handler = serve.load(str(tmp_path / "bundle"))
    for row, right in zip(np.asarray(x[20:]), np.asarray(label[20:]), strict=True):
        body = json.dumps({"request": [row.tolist()], "label": [int(right)]}).encode()
        status, _, answer = respond(handler, "POST", "/feedback", {}, body)
        assert status == 202, answer
    at = ["--store", str(store.path)]
    assert main(["data", "add", "rows", str(tmp_path / "feedback"), *at]) == 0
    np.testing.assert_array_equal(
        sorted(map(tuple, store.data("rows").arrays()[0].tolist())),
        sorted(map(tuple, np.asarray(x[20:]).tolist())),
    )
    assert main(["evolve", "m", "--data", "rows", "--steps", "300", *at]) == 0
    assert "m is sha256:" in capsys.readouterr().out
    second = store.get("m")
    assert lm.pred(second).address == first.address
    report = lm.bundle(second, tmp_path / "bundle", batch=(1, 8))
    assert report.compiled == 0
    now = serve.load(str(tmp_path / "bundle"))
    assert (now("who"), now("pred")) == (second.address, first.address)
