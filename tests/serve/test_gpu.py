"""A device through its plugin: what it answers is what JAX answers on the CPU.

The same tests run on each of PLATFORMS that has a plugin and a device here: on a CPU always, so
that they stay right where no GPU is, and on a GPU where there is one (`make gpu`). With
LAMDA_TEST_PLATFORM they run on that platform alone.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import make
import numpy as np
import pytest
from parts import dense, rows
from streams import lines, said

import lamda as lm
import serve
from lamda.compile import gpus
from serve.handler import Handler
from serve.runtime import api, native, plugins, program
from serve.runtime.device import DeviceFrame

named = os.environ.get("LAMDA_TEST_PLATFORM")
PLATFORMS = [named] if named else ["cpu", "cuda"]

# Of the largest number of an output. On a CPU 16 ulps of float32: sums have other orders. A GPU
# multiplies float32 as TF32, of 10 bits: eight times half of its last one.
BOUND = {"cpu": 16 * 2**-23, "cuda": 8 * 2**-11}

PROBE = """
import json, sys
from serve.errors import PluginError
from serve.runtime.client import Client
try:
    client = Client(sys.argv[1])
    said = {"platform": client.platform, "kind": client.kind}
    client.close()
except PluginError as reason:
    said = {"reason": str(reason)}
print(json.dumps(said))
"""


class Device(NamedTuple):
    """What runs the bundles."""

    platform: str
    plugin: str
    kind: str


@pytest.fixture(scope="module", params=PLATFORMS)
def device(request: pytest.FixtureRequest) -> Device:
    """The first device of a platform, looked for in a process that may die of it."""
    platform = request.param
    plugin = plugins.find(platforms=[platform])
    if plugin is None:
        pytest.skip(f"no PJRT plugin of {platform}: install lamda[{platform}], see make gpu")
    said = make.python(PROBE, plugin.path)
    if said.get("platform") != platform:
        pytest.skip(f"no device of {platform}: {said.get('reason') or f'{plugin.path}: {said}'}")
    return Device(platform, plugin.path, said["kind"])


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMDA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def layers(device: Device, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundle of MLP for a device that is here."""
    directory = tmp_path_factory.mktemp("layers")
    lm.bundle(MLP, directory, batch=4, targets=[f"{device.platform}:native"])
    return str(directory)


@contextmanager
def served(directory: Any, device: Device) -> Iterator[Handler]:
    """The handler of a bundle on a device, which is given back: a client takes most of a GPU.

    A CPU is called as a GPU is, what goes in and out copied, though it need not be.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "aliases", lambda client: False)
        handler = serve.load(directory, device.plugin)
        try:
            yield handler
        finally:
            handler.engine.close()


def answers(handler: Handler, x: Any) -> list[np.ndarray]:
    """The leaves of the output, of the one program."""
    given = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(x)]
    return [
        np.frombuffer(data, jnp.dtype(dtype)).reshape(shape)
        for dtype, shape, data in handler.engine(0, given)
    ]


def on_the_cpu(model: lm.Model, x: Any) -> list[np.ndarray]:
    """What JAX answers on the CPU."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return [np.asarray(leaf) for leaf in jax.tree.leaves(model(x))]


def assert_same(found: list[np.ndarray], wanted: list[np.ndarray], device: Device) -> None:
    """Floats to the bound of the platform, all else exactly."""
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if ours.dtype == np.float32:
            most = BOUND[device.platform] * np.abs(theirs).max(initial=0)
            assert np.abs(ours - theirs).max(initial=0) <= most
        else:
            np.testing.assert_array_equal(ours, theirs)


relu = lm.lift(jax.nn.relu)
MLP = dense(64, 64, 0, "f") >> relu >> dense(64, 64, 1, "g") >> relu >> dense(64, 8, 2, "h")


def gathered(w: Any, ids: jax.Array) -> jax.Array:
    return w["table"][ids]


def several(w: Any, x: jax.Array) -> Any:
    product = x @ w["kernel"]
    return {"product": product, "rows": (x.sum(axis=1), x - 1), "none": x[:, :0]}


def exact(x: Any) -> Any:
    """Each number small enough for its dtype."""
    kept = jnp.where(x["mask"], x["ids"], -1)
    return {
        "any": x["mask"].any(axis=1),
        "bytes": x["bytes"] // 2,
        "count": x["mask"].sum(axis=1, dtype=jnp.int32),
        "half": kept.astype(jnp.bfloat16),
        "kept": kept,
        "not": ~x["mask"],
        "small": kept.astype(jnp.int8),
    }


TABLE = np.random.default_rng(0).standard_normal((100, 16), np.float32)
IDS = np.random.default_rng(1).integers(0, 100, (4, 6), np.int32)
INTEGERS = {"bytes": "uint8[b]", "ids": "int32[b, 6]", "mask": "bool[b, 6]"}
CASES = {
    "layers": (MLP, rows(4, 64)),
    "a gather": (lm.lift(gathered, {"table": TABLE}, input="int32[b, 6]"), IDS),
    "several outputs": (lm.lift(several, {"kernel": TABLE[:6]}, input="float32[b, 6]"), rows(4, 6)),
    "whole numbers": (
        lm.lift(exact, input=INTEGERS),
        {"bytes": np.array([0, 1, 254, 255], np.uint8), "ids": IDS, "mask": IDS % 3 == 0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_that_of_jax_on_the_cpu(device: Device, tmp_path: Any, name: str) -> None:
    model, x = CASES[name]
    target = f"{device.platform}:native"
    assert lm.bundle(model, tmp_path, batch=4, targets=[target]).compiled == 1
    (entry,) = make.read(str(tmp_path))["programs"][0]["executables"]
    assert [entry[key] for key in ("target", "platform", "device")] == [
        target, device.platform, device.kind
    ]  # fmt: skip
    with served(tmp_path, device) as handler:
        assert (handler.engine.way, handler.engine.why) == ("executable", native.FITS)
        for _ in range(2):  # the second call is made in the memory of the first
            assert_same(answers(handler, x), on_the_cpu(model, x), device)
        loaded: Any = handler.engine._program(0)
        assert [type(frame) for frame in loaded._free] == [DeviceFrame]


def test_weights_are_on_the_device(
    device: Device, layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of the plugin itself; a CPU shares the memory of the file."""
    monkeypatch.setitem(api.FUNCTIONS, "Buffer_IsOnCpu", (71, "buffer is_on_cpu"))
    with served(layers, device) as handler:
        runner: Any = handler.engine._runner
        buffers = runner.weights.buffers
        assert len(buffers) == len(handler.bundle.tensors) == 6
        for buffer in buffers:
            asked = runner.client.api.call("Buffer_IsOnCpu", buffer=buffer)
            assert bool(asked.is_on_cpu) == (device.platform == "cpu")
        assert runner.weights.notes == []


def test_four_threads_get_the_answers_of_one(device: Device, layers: str) -> None:
    given = [rows(4, 64, seed) for seed in range(40)]
    with served(layers, device) as handler, ThreadPoolExecutor(4) as pool:
        alone = [answers(handler, x)[0].tobytes() for x in given]
        together = pool.map(lambda x: answers(handler, x)[0].tobytes(), given)
        assert list(together) == alone
        assert len(set(alone)) == len(given)


REOPEN = """
import json, sys
import serve
directory, plugin, x = sys.argv[1:]
answers, ways = set(), set()
serve.load(directory, plugin).engine.close()  # before its weights may have arrived
for _ in range(20):
    handler = serve.load(directory, plugin)
    answers.add(handler.engine(0, [bytes.fromhex(x)])[0][2].hex())
    ways.add(handler.engine.way)
    handler.engine.close()
foreign = {"jax", "jaxlib", "lamda", "numpy"} & set(sys.modules)
print(json.dumps([*map(sorted, (answers, ways, foreign))]))
"""


def test_open_and_close_twenty_times(device: Device, layers: str) -> None:
    """A client that left its memory to nobody would find too little of a GPU the second time."""
    x = rows(4, 64)
    made = make.python(REOPEN, layers, device.plugin, np.asarray(x).tobytes().hex())
    (answer,), ways, foreign = made
    assert (ways, foreign) == (["executable"], [])
    found = np.frombuffer(bytes.fromhex(answer), np.float32).reshape(4, 8)
    assert_same([found], on_the_cpu(MLP, x), device)


def test_an_executable_for_another_device_is_not_loaded(
    device: Device, layers: str, tmp_path: Any
) -> None:
    directory = str(shutil.copytree(layers, tmp_path / "copy"))
    manifest = make.read(directory)
    manifest["programs"][0]["executables"][0]["device"] = "Abacus 9000"
    make.write(directory, manifest)
    reason = native.OTHER_DEVICE.format(expected="Abacus 9000", found=device.kind)
    x = rows(4, 64)
    for _ in range(2):  # compiled, and then found in the cache
        with served(directory, device) as handler:
            assert_same(answers(handler, x), on_the_cpu(MLP, x), device)
            assert handler.engine.way == "compiled"
            why = native.COMPILED.format(path=device.plugin, reason=reason)
            assert handler.engine.why == why


def test_what_was_built_without_the_device_is_loaded(
    device: Device, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name of the kind; of a CPU, by the level that it has at least."""
    kinds = {facts["name"]: f"cuda:{name}" for name, facts in gpus.GPUS.items()}
    target = {"cpu": "cpu"}.get(device.platform) or kinds.get(device.kind)
    if target is None:
        pytest.skip(f"no target is a {device.kind}: those of CUDA are {', '.join(kinds)}")
    with monkeypatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert lm.bundle(MLP, tmp_path, batch=4, targets=[target]).compiled == 1
    x = rows(4, 64)
    with served(tmp_path, device) as handler:
        assert_same(answers(handler, x), on_the_cpu(MLP, x), device)
        assert (handler.engine.way, handler.engine.why) == ("executable", native.FITS)


def cell(w: Any, given: Any) -> Any:
    state, x = given
    after = jnp.tanh(state["h"] @ w["u"] + x)
    return {"count": state["count"] + 1, "h": after}, after.sum()


def test_a_scan_streams(device: Device, tmp_path: Any) -> None:
    state = {"count": "int32[]", "h": "float32[16]"}
    step = lm.lift(cell, {"u": TABLE[:16] / 8}, input=(state, "float32[16]"), name="cell")
    scan = lm.scan(step)
    lm.bundle(scan, tmp_path, n=(1, 4), targets=[f"{device.platform}:native"])
    xs = np.asarray(rows(11, 16))
    zero = {"count": jnp.int32(0), "h": jnp.zeros(16)}
    *wanted, ys = on_the_cpu(scan, (zero, xs))
    with served(tmp_path, device) as handler:
        assert handler.engine.way == "executable"
        body = lines(*({"xs": part.tolist()} for part in np.split(xs, [1, 2, 7])))
        *parts, last = said(handler.stream(body))
        body = json.dumps([{"count": 0, "h": [0] * 16}, xs.tolist()]).encode()
        whole = json.loads(handler(body))
    assert [len(part["ys"]) for part in parts] == [1, 1, 5, 4]
    streamed = [y for part in parts for y in part["ys"]]
    for after, values in ((last["state"], streamed), whole):
        found = [np.int32(after["count"]), np.float32(after["h"]), np.float32(values)]
        assert_same([np.asarray(each) for each in found], [*wanted, ys], device)
