"""How a run goes: in parts, over devices, stopped early, interrupted, diverged."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parts import dense, rows

import lamda as lm
from lamda.fit import batches, features
from lamda.fit import loop as loops
from lamda.fit.order import Order
from lamda.fit.plan import Plan
from lamda.store.exchange import safetensors

KEY = jax.random.key(0)
body, head = dense(4, 8, 0, "body"), dense(8, 2, 1, "head")
model = lm.freeze(body) >> head
inputs, targets = rows(30, 4), rows(30, 2, 1)
held = rows(20, 4, 5), rows(20, 2, 6)


def squared(y, target):
    return ((y - target) ** 2).sum(-1)


def run(given=model, data=(inputs, targets), **changes):
    how = {"loss": squared, "optimizer": optax.adam(0.05), "steps": 20, "batch": 8, "key": KEY}
    return lm.fit(given, data, progress=False, **(how | changes))


def apart(a, b):
    pairs = zip(jax.tree.leaves(a.weights), jax.tree.leaves(b.weights), strict=True)
    return max(float(jnp.abs(x - y).max()) for x, y in pairs)


class Stop(Exception):
    pass


def stop_at(step):
    def callback(event):
        if event.step == step:
            raise Stop

    return callback


class TestLength:
    def test_an_epoch_is_every_example_once(self):
        assert run(steps=None, epochs=3).receipt.steps == 12  # 30 in batches of 8
        assert run(steps=None, epochs=3).address == run(steps=12).address

    @pytest.mark.parametrize(("count", "batch"), [(30, 8), (30, 30), (5, 8), (1, 1), (7, 3)])
    def test_every_example_comes_once_before_any_comes_again(self, count, batch):
        order = Order(KEY, count, batch)
        steps = [order.rows(step) for step in range(4 * order.steps)]
        assert {len(rows) for rows in steps} == {min(batch, count)}
        seen = np.concatenate(steps)
        epochs = [seen[at : at + count].tolist() for at in range(0, 3 * count, count)]
        assert [sorted(epoch) for epoch in epochs] == [list(range(count))] * 3
        assert count < 3 or epochs[0] != epochs[1]
        late = Order(KEY, count, batch)
        np.testing.assert_array_equal(late.rows(len(steps) - 1), steps[-1])


class TestAsOneStep:
    """What computes a step otherwise changes it by no more than rounding."""

    @pytest.mark.parametrize("accumulate", [2, 8])
    def test_in_parts(self, accumulate):
        assert 0 < apart(run(accumulate=accumulate), model) > 0.1
        assert apart(run(accumulate=accumulate), run()) < 1e-5

    def test_in_parts_with_a_loss_of_the_whole_batch(self):
        mean = lambda y, t: squared(y, t).mean()  # noqa: E731
        assert apart(run(loss=mean, accumulate=4), run()) < 1e-5

    def test_in_another_dtype(self):
        half = run(dtype="bfloat16")
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(half.weights))
        assert 0 < apart(half, run()) < 0.02
        assert half.receipt.dtype == "bfloat16"

    def test_what_is_computed_and_what_is_not(self):
        """Products are in the dtype, the loss and the sums of updates are not."""
        plan = Plan.of(model, squared, optax.sgd(0.1), KEY, dtype=jnp.bfloat16)
        features, wanted = (jnp.ones((3, 8)),), jnp.ones((3, 2))
        text = str(jax.make_jaxpr(plan.step.mean_loss)(model.weights, features, wanted))
        (product,) = [line for line in text.splitlines() if "dot_general" in line]
        assert ":bf16[3,2] = " in product
        (power,) = [line for line in text.splitlines() if "integer_pow" in line or "square" in line]
        assert ":f32[3,2] = " in power


DEVICES = """
import jax, test_fit_runs as t
assert len(jax.devices()) == 8
one, eight = t.run(), t.run(devices=8)
assert 0 < t.apart(eight, t.model) > 0.1 and t.apart(one, eight) < 1e-5
assert (one.receipt.devices, eight.receipt.devices) == (1, 8)
assert one.receipt.address != eight.receipt.address
assert eight.address == t.run(devices=8).address
two = t.run(devices=jax.devices()[2:4], accumulate=2)
assert t.apart(one, two) < 1e-5
assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(eight.weights))
print("held")
"""


def test_over_eight_devices():
    done = subprocess.run(
        [sys.executable, "-c", DEVICES], capture_output=True, text=True, cwd=Path(__file__).parent,
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "held", done.stderr[-3000:]


class TestEvents:
    def test_callbacks_are_told_and_change_nothing(self):
        events = []
        fitted = run(every=5, eval=held, callbacks=[events.append])
        assert [event.step for event in events] == [5, 10, 15, 20]
        assert events[-1].loss < events[0].loss
        last = jax.tree.map(np.testing.assert_array_equal, events[-1].weights, fitted.weights)
        assert jax.tree.leaves(last) == [] and fitted.address == run().address
        wanted = squared(fitted(held[0]), held[1]).mean()
        assert events[-1].eval == pytest.approx(float(wanted), rel=1e-5)

    def test_the_end_is_told_where_it_is_no_multiple(self):
        events = []
        fitted = run(steps=3, every=50, eval=held, callbacks=[events.append])
        wanted = squared(fitted(held[0]), held[1]).mean()
        assert [event.step for event in events] == [3]
        assert events[0].eval == pytest.approx(float(wanted), rel=1e-5)

    def test_the_loss_on_held_out_data_of_any_size(self):
        many = rows(300, 4, 7), rows(300, 2, 8)
        events = []
        fitted = run(steps=5, every=5, eval=many, callbacks=[events.append])
        wanted = squared(fitted(many[0]), many[1]).mean()
        assert events[-1].eval == pytest.approx(float(wanted), rel=1e-5)

    def test_training_stops_where_nothing_gets_better(self):
        events = []
        how = {"every": 4, "eval": held, "optimizer": optax.adam(0.2)}
        fitted = run(steps=400, patience=3, callbacks=[events.append], **how)
        found = [event.eval for event in events]
        least = int(np.argmin(found))
        assert len(found) == least + 4 < 100
        assert fitted.receipt.taken == events[-1].step < fitted.receipt.steps == 400
        assert fitted.address == run(steps=events[least].step, **how).address
        assert fitted.receipt.kept == events[least].step and fitted.receipt.eval
        assert fitted.receipt.patience == 3


class TestCheckpoints:
    def test_resumed_is_uninterrupted(self, tmp_path):
        how = {"steps": 41, "every": 4, "checkpoint": tmp_path}
        with pytest.raises(Stop):
            run(callbacks=[stop_at(24)], **how)
        assert len(list(tmp_path.iterdir())) == 1
        taken = []
        resumed = run(callbacks=[lambda event: taken.append(event.step)], **how)
        whole = run(steps=41)
        assert taken == [28, 32, 36, 40, 41]
        assert (resumed.address, resumed.receipt) == (whole.address, whole.receipt)
        assert not list(tmp_path.iterdir())

    def test_where_parts_are_random(self, tmp_path):
        def dropout(x, key=None):
            kept = 1.0 if key is None else jax.random.bernoulli(key, 0.5, x.shape)
            return x * kept

        given = lm.freeze(body) >> lm.lift(dropout) >> head
        with pytest.raises(Stop):
            run(given, every=4, checkpoint=tmp_path, callbacks=[stop_at(8)])
        whole = run(given)
        assert run(given, every=4, checkpoint=tmp_path).address == whole.address != run().address

    def test_what_stops_early_too(self, tmp_path):
        how = {"steps": 400, "every": 4, "eval": held, "patience": 3, "optimizer": optax.adam(0.2)}
        with pytest.raises(Stop):
            run(checkpoint=tmp_path, callbacks=[stop_at(8)], **how)
        resumed, whole = run(checkpoint=tmp_path, **how), run(**how)
        assert (resumed.address, resumed.receipt) == (whole.address, whole.receipt)

    def test_early_stopping_remembers_where_the_best_was(self, tmp_path):
        how = {"steps": 400, "every": 4, "eval": held, "optimizer": optax.adam(0.2), "patience": 3}
        whole = run(**how)
        for at in (4, whole.receipt.kept + 4, whole.receipt.taken):
            with pytest.raises(Stop):
                run(checkpoint=tmp_path, callbacks=[stop_at(at)], **how)
            assert run(checkpoint=tmp_path, **how).receipt == whole.receipt

    def test_another_run_does_not_go_on_from_it(self, tmp_path):
        with pytest.raises(Stop):
            run(every=4, checkpoint=tmp_path, callbacks=[stop_at(8)])
        other = run(every=4, checkpoint=tmp_path, optimizer=optax.adam(0.01))
        assert other.address == run(optimizer=optax.adam(0.01)).address
        assert len(list(tmp_path.iterdir())) == 1

    @pytest.mark.parametrize("at", [100, -1])
    def test_a_damaged_one_is_refused(self, tmp_path, at):
        with pytest.raises(Stop):
            run(every=4, checkpoint=tmp_path, callbacks=[stop_at(8)])
        (file,) = tmp_path.iterdir()
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)
        with pytest.raises(lm.StoreError, match="is no checkpoint of this run"):
            run(every=4, checkpoint=tmp_path)
        file.unlink()
        assert run(every=4, checkpoint=tmp_path).address == run().address

    def test_a_full_disk_keeps_the_one_before(self, tmp_path, monkeypatch):
        write, count = safetensors.write_file, [0]

        def full(path, chunks):
            count[0] += 1
            if count[0] > 2:
                raise OSError(28, "No space left on device")
            write(path, chunks)

        monkeypatch.setattr(safetensors, "write_file", full)
        with pytest.raises(lm.DiskError, match="No space left"):
            run(every=4, checkpoint=tmp_path)
        monkeypatch.undo()
        events = []
        resumed = run(every=4, checkpoint=tmp_path, callbacks=[events.append])
        assert events[0].step == 12 and resumed.address == run().address

    def test_a_process_that_is_killed_loses_no_more_than_since_its_last(self, tmp_path):
        code = (
            "import os, signal, test_fit_runs as t\n"
            "def kill(event):\n"
            "    if event.step == 12: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"t.run(every=4, checkpoint={str(tmp_path)!r}, callbacks=[kill])"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
        assert done.returncode == -signal.SIGKILL
        events = []
        resumed = run(every=4, checkpoint=tmp_path, callbacks=[events.append])
        assert [event.step for event in events] == [16, 20]
        assert resumed.address == run().address


class TestStreams:
    batches = [(inputs[i : i + 8], targets[i : i + 8]) for i in range(0, 24, 8)]  # noqa: RUF012

    def by_hand(self, batches) -> Any:
        weights, optimiser = head.weights, optax.adam(0.05)
        state = optimiser.init(weights)

        def loss(weights, x, t):
            return squared(head.apply(weights, body(x)), t).mean()

        for x, t in batches:
            updates, state = optimiser.update(jax.grad(loss)(weights, x, t), state)
            weights = optax.apply_updates(weights, updates)
        return weights

    def test_each_batch_is_a_step(self):
        fitted = run(data=self.batches, steps=None)
        wanted = self.by_hand(self.batches)
        for name in ("kernel", "bias"):
            found = fitted.weights["head"][name]
            np.testing.assert_allclose(found, wanted[name], rtol=1e-5)
        assert fitted.receipt.steps == fitted.receipt.taken == 3

    def test_over_and_over(self):
        fitted = run(data=self.batches, steps=None, epochs=2)
        assert fitted.receipt.steps == 6
        assert fitted.address == run(data=iter(self.batches * 2), steps=None).address
        assert run(data=iter(self.batches * 2), steps=4).receipt.taken == 4

    def test_what_has_come_is_in_the_receipt(self):
        one = run(data=self.batches, steps=None).receipt
        other = run(data=self.batches[::-1], steps=None).receipt
        assert one.data != other.data and one == run(data=iter(self.batches), steps=None).receipt

    def test_large_batches_are_not_kept_for_long(self, monkeypatch):
        monkeypatch.setattr(batches, "RECENT", 500)  # a batch has 192 bytes
        streams = []
        init = batches.Stream.__init__

        def noted(self, *arguments):
            streams.append(self)
            init(self, *arguments)

        monkeypatch.setattr(batches.Stream, "__init__", noted)
        fitted = run(data=self.batches, steps=None, epochs=5)
        assert streams[0].window == 2 and len(streams[0]._recent) <= 4
        assert fitted.receipt.taken == 15
        with pytest.raises(lm.DivergedError) as caught:
            run(data=self.batches, steps=None, epochs=90, optimizer=optax.sgd(3.0))
        assert np.isfinite(squared(caught.value.model(inputs), targets)).all()

    def test_resumed(self, tmp_path):
        how = {"steps": None, "epochs": 4, "every": 5, "checkpoint": tmp_path}
        with pytest.raises(Stop):
            run(data=self.batches, callbacks=[stop_at(5)], **how)
        with pytest.raises(lm.SpecError, match="the first 5 batches are not those"):
            run(data=self.batches[::-1], **how)
        resumed = run(data=self.batches, **how)
        assert resumed.address == run(data=self.batches, steps=None, epochs=4).address

    @pytest.mark.parametrize(
        ("data", "message"),
        [([], "an iterable that is empty"), ([1], "a batch that is int"),
         ([(inputs, targets[:3])], "with the same first axis; got")],
    )  # fmt: skip
    def test_what_does_not_fit_is_refused(self, data, message):
        with pytest.raises(lm.SpecError, match=message):
            run(data=data, steps=None)


class TestFeatures:
    @pytest.fixture(autouse=True)
    def counted(self, tmp_path, monkeypatch):
        """The examples that the frozen part was run on."""
        self.seen = []
        computed = features._computed

        def count(run, examples, shown):
            self.seen.append(examples.count)
            return computed(run, examples, shown)

        monkeypatch.setattr(features, "_computed", count)
        monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / "cache"))
        features.forget()

    def test_they_are_computed_once_for_all_epochs_and_all_heads(self):
        run(steps=None, epochs=5)
        run(lm.freeze(body) >> dense(8, 2, 7, "other"), optimizer=optax.sgd(0.1))
        run(lm.freeze(dense(4, 8, 0, "renamed")) >> head)  # the same function
        assert self.seen == [30]
        run(data=(inputs + 1, targets))
        run(lm.freeze(dense(4, 8, 9, "body")) >> head)
        assert self.seen == [30, 30, 30]

    def test_what_is_slow_is_kept_on_the_machine(self, tmp_path, monkeypatch):
        monkeypatch.setattr(features, "SLOW", 0.0)
        fitted = run()
        features.forget()  # as a fresh process would have
        assert run().address == fitted.address and self.seen == [30]
        (file,) = (tmp_path / "cache" / "features").iterdir()
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        features.forget()
        assert run().address == fitted.address
        assert self.seen == [30, 30]  # what is damaged is computed again

    def test_the_oldest_make_room(self, tmp_path, monkeypatch):
        monkeypatch.setattr(features, "SLOW", 0.0)
        monkeypatch.setattr(features, "ROOM", 400)  # features of these take 30 * 8 * 4 bytes
        for shift in range(5):
            run(data=(inputs + shift, targets))
        files = (tmp_path / "cache" / "features").iterdir()
        assert 1 <= len(list(files)) <= 3 and len(features._kept) == 1

    def test_a_cache_that_can_not_be_written_is_none(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / "file"))
        monkeypatch.setattr(features, "SLOW", 0.0)
        assert run().address and run().address and self.seen == [30]


class TestDiverged:
    def test_the_step_its_examples_and_the_last_good_model(self):
        grow = {"data": (inputs, targets), "optimizer": optax.sgd(3.0), "steps": 200}
        with pytest.raises(lm.DivergedError, match=r"the loss is (inf|nan) at step \d+") as caught:
            run(**grow)
        error = caught.value
        good = error.model
        assert 1 < error.step < 200 and lm.pred(good) is model
        assert np.isfinite(squared(good(inputs), targets)).all()
        assert good.address == run(**grow | {"steps": error.step - 2}).address
        assert error.batch.startswith("sha256:") and error.batch in str(error)

    def test_at_any_place_between_two_looks(self, monkeypatch):
        found = []
        for look in (1, 3, 50):
            monkeypatch.setattr(loops, "LOOK", look)
            with pytest.raises(lm.DivergedError) as caught:
                run(optimizer=optax.sgd(3.0), steps=200)
            found.append((caught.value.step, caught.value.batch, caught.value.model.address))
        assert found[0] == found[1] == found[2]

    def test_at_once(self):
        with pytest.raises(FloatingPointError, match="at step 1, whose examples are sha256") as e:
            run(data=(inputs, targets * jnp.inf))
        assert e.value.model.address == model.address


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "give steps=, or epochs=, and not both"),
        ({"epochs": 2}, "give steps=, or epochs=, and not both"),
        ({"steps": None, "epochs": 0}, "epochs is a whole number from 1, got 0"),
        ({"every": 0}, "every is a whole number from 1, got 0"),
        ({"patience": 2}, "give eval="),
        ({"accumulate": 3}, "a batch of 8 has no 3 parts of one size"),
        ({"devices": 2000}, "devices=2000 are wanted, and there are"),
        ({"dtype": "float16"}, "dtype= is bfloat16, float32 or float64"),
        ({"dtype": "int32"}, "dtype= is bfloat16, float32 or float64"),
        ({"eval": inputs}, "data is .inputs, targets."),
    ],
)
def test_what_can_not_be_is_refused(changes, message):
    with pytest.raises(lm.SpecError, match=message):
        run(**changes)


def test_a_loss_that_broadcasts_is_refused():
    """One column of predictions, and targets that are none, give a table of losses."""
    one = lm.freeze(body) >> dense(8, 1, 1, "one")
    with pytest.raises(
        lm.SpecError, match=r"of float32\[8, 1\] and float32\[8\] it gave float32\[8, 8\]"
    ):
        run(one, (inputs, targets[:, 0]), loss=lambda y, t: (y - t) ** 2)
    assert (
        apart(run(loss=lambda y, t: (y - t) ** 2), run(loss=lambda y, t: squared(y, t) / 2)) < 1e-5
    )


def test_targets_that_do_not_fit_are_refused_before_compiling():
    with pytest.raises(
        lm.SpecError, match=r"prediction float32\[8, 2\] and a target float32\[8, 3\]"
    ):
        run(data=(inputs, jnp.ones((30, 3))))


def test_a_loss_only_computes():
    def loss(y, target):
        jax.debug.print("{}", y.sum())
        return squared(y, target)

    with pytest.raises(lm.ImpureError, match="loss is not pure: it has the effect"):
        run(loss=loss)


def test_a_stored_program_runs_in_its_own_dtype_alone(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(model, ref="m")
    with pytest.raises(lm.SpecError, match="does not run in bfloat16"):
        run(store.get("m"), dtype="bfloat16")
    assert run(store.get("m")).address == run().address
