"""Over several machines: processes that train together, and Ray, which finds them."""

import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import jax
import numpy as np
import optax
import pytest
import test_fit_runs as alone
import tools

import lamda as lm
from lamda import errors
from lamda.fit import machines
from lamda.fit.machines.machine import Machine
from lamda.fit.machines.parcel import Parcel
from lamda.fit.machines.reply import received

HERE = Path(__file__).parent
RAY = pytest.mark.skipif("RAY" not in os.environ, reason="RAY=1 runs it: it starts a cluster")
ROUNDING = 1e-5
LOCK = threading.Lock()
SOME = alone.inputs, alone.targets
HOW = {
    "loss": alone.squared, "optimizer": optax.adam(0.05), "steps": 20, "batch": 8,
    "key": alone.KEY,
}  # fmt: skip
ONE = Parcel.of(alone.model, SOME, **HOW)


def fit(data=SOME, **changes):
    return machines.fit(alone.model, data, progress=False, **(HOW | changes))


def dropout(x, key=None):
    return x * (1.0 if key is None else jax.random.bernoulli(key, 0.5, x.shape))


TOGETHER = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np, optax

place, port, shared = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, place)
import lamda as lm, test_fit_runs as t
from lamda.fit.checkpoint import Checkpoint
from lamda.fit.processes import Processes

devices = jax.devices()
all = Processes(np.array(devices))
found = {"here": len(jax.local_devices()), "devices": len(devices)}
found["agreed"] = all.agreed(0.1 + place)


def both(name, given=t.model, **how):
    two = t.run(given, devices=devices, **how)
    same = {"address": two.address, "taken": two.receipt.taken, "devices": two.receipt.devices}
    # What one process gives is computed by one of them.
    wanted = t.run(given, **how) if place == 0 else two
    found[name] = same | {"apart": t.apart(two, wanted), "wanted": wanted.receipt.taken}
    return two


def refused(name, **how):
    try:
        t.run(devices=devices, **how)
    except lm.LamdaError as error:
        found[name] = f"{type(error).__name__}: {error}"


def dropout(x, key=None):
    return x * (1.0 if key is None else jax.random.bernoulli(key, 0.5, x.shape))


plain = both("plain")
both("random", lm.freeze(t.body) >> lm.lift(dropout) >> t.head)
halves = [(t.inputs[:8], t.targets[:8]), (t.inputs[8:16], t.targets[8:16])]
both("stream", data=halves, steps=None, epochs=3)
stops = {"every": 4, "eval": t.held, "patience": 3}
both("stopped", optimizer=optax.adam(0.2), steps=400, **stops)

wrote, put = Checkpoint.write, lm.Store.put
writes, puts = [], []
Checkpoint.write = lambda self, state: writes.append(state.step) or wrote(self, state)
lm.Store.put = lambda self, model: puts.append(model.address) or put(self, model)

how = {"devices": devices, "every": 4, "checkpoint": shared / "points"}
try:
    t.run(callbacks=[t.stop_at(8)], **how)
except t.Stop:
    all.wait()
found["points"] = len(list((shared / "points").iterdir()))
taken = []
found["resumed"] = t.run(callbacks=[lambda event: taken.append(event.step)], **how).address
found["then"] = taken, len(list((shared / "points").iterdir()))

store = lm.Store(shared / "store")
found["kept"] = t.run(devices=devices, store=store).address, len(store.versions())
again = t.run(devices=devices, store=store)
found["again"] = again.receipt == plain.receipt, lm.pred(again) is t.model
found["wrote"] = writes, len(puts)

try:
    t.run(devices=devices, optimizer=optax.sgd(3.0), steps=200)
except lm.DivergedError as error:
    found["diverged"] = error.step, error.model.address
refused("inputs", steps=20 + place)
refused("store", store=store if place else None)
t.run(steps=2, store=lm.Store(shared / f"own{place}"))  # it trains alone, and keeps its own
found["alone"] = len(lm.Store(shared / f"own{place}").versions())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes with two devices found."""
    shared, port = tmp_path_factory.mktemp("shared"), str(tools.free_port())
    flags = "--xla_force_host_platform_device_count=2"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(place), port, str(shared)], text=True, cwd=HERE,
            env=os.environ | {"XLA_FLAGS": flags}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for place in range(2)
    ]  # fmt: skip
    try:
        said = [run.communicate(timeout=300) for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [run.returncode for run in runs] == [0, 0], "\n".join(err[-3000:] for _, err in said)
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


class TestProcesses:
    """Two processes with two devices each are one run over four."""

    @pytest.mark.parametrize("what", ["plain", "random", "stream", "stopped"])
    def test_the_result_is_that_of_one(self, together, what):
        one, two = (found[what] for found in together)
        assert (together[0]["here"], together[0]["devices"]) == (2, 4)
        assert one["apart"] < ROUNDING and one["taken"] == one["wanted"]
        assert one["devices"] == 4 and one["address"] == two["address"]

    def test_the_steps_are_taken(self, together):
        addresses = {found[what]["address"] for found in together for what in ("plain", "random")}
        assert len(addresses) == 2 and alone.model.address not in addresses
        assert together[0]["stopped"]["taken"] < 400

    def test_one_keeps_checkpoints_and_all_go_on(self, together):
        for found in together:
            assert found["points"] == 1 and found["then"] == [[12, 16, 20], 0]
            assert found["resumed"] == found["plain"]["address"]

    def test_one_keeps_the_result_and_all_find_it(self, together):
        for found in together:
            assert found["kept"][0] == found["plain"]["address"]
            assert found["again"] == [True, True]
        assert [found["wrote"] for found in together] == [[[4, 8, 12, 16, 20], 1], [[], 0]]

    def test_a_loss_that_is_not_finite_ends_all(self, together):
        with pytest.raises(lm.DivergedError) as caught:
            alone.run(optimizer=optax.sgd(3.0), steps=200)
        assert together[0]["diverged"] == together[1]["diverged"]
        assert together[0]["diverged"][0] == caught.value.step

    @pytest.mark.parametrize(
        ("what", "said"), [("inputs", "differ in the inputs; here it is sha256:"),
                           ("store", "differ in what their store has; here it is ")],
    )  # fmt: skip
    def test_where_they_differ_all_say_so(self, together, what, said):
        for found in together:
            assert found[what].startswith(f"MachineError: processes that train together {said}")

    def test_what_they_may_see_otherwise_is_said_by_the_first(self, together):
        assert [found["agreed"] for found in together] == [0.1, 0.1]

    def test_one_that_trains_alone_keeps_its_own(self, together):
        assert [found["alone"] for found in together] == [2, 2]


def by_machine(model=alone.model, data=(alone.inputs, alone.targets), told=True, **changes):
    """All that a machine says of a fit that was sent to it, as it comes here."""
    parcel = pickle.loads(cloudpickle.dumps(Parcel.of(model, data, **(HOW | changes))))
    said = Machine("127.0.0.1").train(parcel, None, told, told)
    return [pickle.loads(pickle.dumps(each)) for each in said]


class TestParcels:
    """What is sent to a machine, and what it sends back, without Ray in between."""

    @pytest.mark.parametrize("how", [
        {}, {"accumulate": 2}, {"dtype": "bfloat16"}, {"steps": None, "epochs": 2},
        {"eval": alone.held, "patience": 2, "every": 4},
        {"data": lm.DataSet.of(alone.inputs, alone.targets).append(*alone.held)},
        {"key": jax.random.key(7, impl="rbg")},
    ])  # fmt: skip
    def test_the_same_fit(self, how):
        (result,) = by_machine(told=False, **how)
        new, wanted = result.after(alone.model), alone.run(**how)
        assert new.receipt == wanted.receipt and new.address == wanted.address
        assert lm.pred(new) is alone.model and new.address != alone.model.address

    def test_parts_that_are_random(self):
        model = lm.freeze(alone.body) >> lm.lift(dropout) >> alone.head
        (result,) = by_machine(model, told=False)
        assert result.after(model).address == alone.run(model).address

    def test_a_version_goes_without_those_before_it(self):
        second = alone.run()
        (result,) = by_machine(second, told=False)
        third = result.after(second)
        assert lm.pred(third) is second and third.address == alone.run(second).address
        assert len(Parcel.of(second, SOME, **HOW).files) == len(ONE.files)

    def test_what_came_back_can_be_done_again(self, tmp_path):
        (result,) = by_machine(told=False)
        store = lm.Store(tmp_path / "store")
        store.put(result.after(alone.model), ref="it")
        assert lm.reproduce(store, "it", SOME, progress=False).same

    def test_a_store_and_a_directory_are_found_from_anywhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        parcel = Parcel.of(alone.model, SOME, store=lm.Store("s"), checkpoint="c", **HOW)
        assert parcel.store == str(tmp_path / "s")
        assert parcel.python["checkpoint"] == tmp_path / "c"
        remote = Parcel.of(alone.model, SOME, store=lm.Store("memory://"), **HOW)
        assert remote.store == "memory://"

    def test_events(self):
        *events, _ = by_machine(every=5)
        wanted = []
        alone.run(every=5, callbacks=[wanted.append])
        here = [received(event, alone.model) for event in events]
        assert [event[:3] for event in here] == [event[:3] for event in wanted]
        for one, two in zip(here, wanted, strict=True):
            jax.tree.map(np.testing.assert_array_equal, one.weights, two.weights)

    def test_a_loss_that_is_not_finite(self):
        grow = {"optimizer": optax.sgd(3.0), "steps": 200}
        (failure,) = by_machine(told=False, **grow)
        error = failure.error(alone.model)
        with pytest.raises(lm.DivergedError) as caught:
            alone.run(**grow)
        assert str(error) == str(caught.value) and error.step == caught.value.step
        assert error.model.address == caught.value.model.address
        assert lm.pred(error.model) is alone.model and error.batch == caught.value.batch

    def test_what_can_not_be_is_said_here(self):
        (failure,) = by_machine(accumulate=3)
        assert str(failure.error(alone.model)).startswith("a batch of 8 has no 3 parts")
        parcel = Parcel.of(alone.model, SOME, **HOW)
        (failure,) = Machine("127.0.0.1").train(parcel, 4096, False, False)
        assert isinstance(failure.error(alone.model), lm.SpecError)
        assert failure.text.startswith("devices_each=4096 are wanted of each machine, and")

    def test_another_result_than_there_was(self):
        (result,) = by_machine(told=False)
        other = result._replace(leaves=[leaf + 1 for leaf in result.leaves])
        with pytest.raises(errors.MachineError, match=f"and was {result.address} there"):
            other.after(alone.model)


@pytest.mark.parametrize(("how", "message"), [
    ({"machines": 0}, "machines is a whole number from 1, got 0"),
    ({"devices_each": 1.5}, "devices_each is a whole number from 1, got 1.5"),
    ({"devices": 2}, "leave devices= out"),
    ({"data": [SOME]}, "data is (inputs, targets) or a data set"),
    ({"eval": [alone.inputs]}, "data is (inputs, targets) or a data set"),
    ({"loss": lambda y, t: (y - t).sum() if LOCK else 0}, "can not be pickled: cannot pickle '_th"),
    ({"data": (alone.targets, alone.targets)}, "takes float32[b, 4]"),
])  # fmt: skip
def test_what_is_refused_before_anything_starts(how, message):
    with pytest.raises((lm.SpecError, lm.MismatchError), match=re.escape(message)):
        fit(**how)


def test_an_argument_that_there_is_not():
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepz'"):
        fit(stepz=3)


def test_ray_is_missing():
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("Ray is installed")
    with pytest.raises(lm.SpecError, match=re.escape("pip install 'lamda[ray]'")):
        fit()


CLUSTER = """
import json, os, signal, sys, tempfile
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from ray.util import placement_group_table

nodes = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False})
nodes.add_node(num_cpus=1, object_store_memory=80 << 20)
ray.init(address=nodes.address, log_to_driver=False)

import jax.numpy as jnp, optax
import lamda as lm, test_fit_machines as t
from lamda.fit import machines
from lamda.fit.machines import machines as over

shared = Path(sys.argv[1])
found, started = {}, []


class Seen(over.Cluster):
    def __init__(self, *given):
        super().__init__(*given)
        started.append(self)


over.Cluster = Seen


def loss(y, target):  # of this script: it is sent by value
    return ((y - target) ** 2).sum(-1)


def fit(**changes):
    return t.fit(**{"loss": loss, "devices_each": 2} | changes)


def look(event):
    events.append(event)
    (here,) = [g for g in placement_group_table().values() if g["state"] == "CREATED"]
    found["nodes"] = len(set(here["bundles_to_node_id"].values()))


def kill(place, at):
    def callback(event):
        events.append(event)
        if event.step == at:
            os.kill(int(started[-1]._hosts[place].split()[1]), signal.SIGKILL)

    return callback


def refused(name, **how):
    try:
        fit(**how)
    except lm.LamdaError as error:
        found[name] = f"{type(error).__name__}: {error}"


events = []
two, one = fit(every=5, callbacks=[look]), t.alone.run()
found["plain"] = two.address, two.receipt.devices, lm.pred(two) is t.alone.model
found["apart"] = t.alone.apart(one, two)
found["events"] = [event.step for event in events]
found["last"] = t.alone.apart(two.replace_weights(events[-1].weights), two)

three = fit(machines=3, devices_each=1, resources={"CPU": 0.5}, batch=6)
found["together"] = three.receipt.devices, t.alone.apart(three, t.alone.run(batch=6))

store = lm.Store(shared / "store")
found["stored"] = fit(store=store).address, len(store.versions())
found["again"] = fit(store=store).address

try:
    fit(optimizer=optax.sgd(3.0), steps=200)
except lm.DivergedError as error:
    found["diverged"] = error.step, error.model.address
refused("parts", batch=7)
refused("room", machines=5, wait=1.0)
refused("broken", loss=lambda y, target: 1 // 0)

long = {"steps": 300, "every": 10, "checkpoint": shared / "points"}
for place, at in ((1, 60), (0, 160)):
    events = []
    refused("gone", callbacks=[kill(place, at)], **long)
    found[f"gone {place}"] = found.pop("gone"), events[0].step
events = []
resumed, whole = fit(callbacks=[events.append], **long), fit(**long | {"checkpoint": None})
found["resumed"] = events[0].step, resumed.address == whole.address
found["left"] = len(list((shared / "points").iterdir()))
(shared / "found").write_text(json.dumps(found))
ray.shutdown()
nodes.shutdown()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """What a fit by a real Ray gave, whose two machines are two nodes on this one."""
    shared = tmp_path_factory.mktemp("cluster")
    path = ":".join(map(str, (HERE.parent, HERE, tools.package("ray", "2.60.0"))))
    ray = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(shared)], text=True, capture_output=True, cwd=shared,
        env={**os.environ, **ray, "PYTHONPATH": path}, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((shared / "found").read_text())  # Ray prints, too


@RAY
class TestRay:
    def test_the_result_is_that_without_it(self, cluster, together):
        assert cluster["plain"] == [together[0]["plain"]["address"], 4, True]
        assert cluster["apart"] < ROUNDING

    def test_callbacks_are_called_here(self, cluster):
        assert (cluster["events"], cluster["last"]) == ([5, 10, 15, 20], 0)

    def test_each_on_a_machine_of_its_own_where_there_are_as_many(self, cluster):
        assert cluster["nodes"] == 2
        assert cluster["together"][0] == 3 and cluster["together"][1] < ROUNDING

    def test_a_store_has_the_result(self, cluster):
        assert cluster["stored"] == [cluster["plain"][0], 2]
        assert cluster["again"] == cluster["plain"][0]

    def test_what_is_refused_there(self, cluster, together):
        assert cluster["diverged"] == together[0]["diverged"]
        assert cluster["parts"] == (
            "SpecError: a batch of 7 has no equal part for each of 4 devices"
        )
        assert cluster["room"].startswith(
            "MachineError: Ray had no room for 5 machines with {'CPU': 1} each in 1 seconds; "
            "it has {'CPU': 2.0}, of which {'CPU': 2.0} are free."
        )
        assert "of 2, process " in cluster["broken"] and "ZeroDivisionError" in cluster["broken"]

    def test_one_that_is_gone_ends_the_others(self, cluster):
        for place in (0, 1):
            said, _ = cluster[f"gone {place}"]
            assert re.match(r"MachineError: machine [12] of 2, process \d+ of \S+, is gone: ", said)
            assert said.endswith(
                "The same call goes on from the last checkpoint, where there is one."
            )

    def test_the_same_call_goes_on(self, cluster):
        (said, first), (_, then) = cluster["gone 1"], cluster["gone 0"]
        assert said.startswith("MachineError: machine 2 of 2") and first == 10
        assert 60 < then < 160 < cluster["resumed"][0] <= 300
        assert cluster["resumed"][1] and cluster["left"] == 0
