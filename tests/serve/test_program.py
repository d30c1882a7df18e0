"""Calls: the same bits by every way, from any number of threads, and after any interruption.

What could end the process, or is measured, runs in a process of its own (`make.python`).
LOADS is how often an engine is loaded and unloaded: 200, or 2000 before a release.
"""

from __future__ import annotations

import os
import shutil
import threading
from typing import Any

import make
import numpy as np
import pytest

from serve import bundle
from serve.errors import PluginError
from serve.runtime import engine, shim
from serve.runtime.device import DeviceFrame
from serve.runtime.host import HostFrame, ShimFrame
from serve.runtime.program import Program

FRAMES = {"ctypes": HostFrame, "shim": ShimFrame, "device": DeviceFrame}
LOADS = int(os.environ.get("LOADS", "200"))


@pytest.fixture(scope="module", autouse=True)
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache of this module's own, with the shim built in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMDA_CACHE", str(tmp_path_factory.mktemp("cache")))
        if shutil.which("cc"):
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(shim, "HERE", "/proc/nowhere")  # so that the cache is what is left
                shim.build()
        yield


@pytest.fixture(scope="module")
def bundles(built: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {"add_one": make.add_one, "dense": make.dense, "pair": make.pair}
    return {name: write(folder / name) for name, write in made.items()}


@pytest.fixture(params=FRAMES)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a call is made: by ctypes, by the shim, or as on a device with memory of its own."""
    if request.param == "shim" and not shutil.which("cc"):
        pytest.skip("no C compiler here: apt install gcc")
    if request.param != "shim":
        monkeypatch.setenv("LAMDA_SHIM", "0")
    return request.param


def opened(directory: str, way: str) -> engine.Engine:
    made = engine.open(bundle.read(directory))
    if way == "device":
        native: Any = made._runner
        native.client.platform = "elsewhere"
    return made


def program(made: engine.Engine, index: int, way: str) -> Program:
    """The program, which calls in the way that is asked for."""
    found = made._program(index)
    assert isinstance(found, Program)
    found._free.append(found._frame())
    assert type(found._free[0]) is FRAMES[way]
    return found


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def dense(x: np.ndarray) -> np.ndarray:
    kernel, bias, scale, _ = make.dense_weights()
    return scale * (x @ kernel + bias)


class TestTheAnswer:
    def test_is_the_same_bits_by_every_way(
        self, bundles: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = np.arange(8, dtype=np.int32).reshape(2, 4) * 9
        asked = {
            "add_one": [rows(4).tobytes()],
            "dense": [rows(4).tobytes()],
            "pair": [ids.tobytes(), (ids % 2 == 0).tobytes()],
        }
        for name, inputs in asked.items():
            answers = {}
            for way in FRAMES:
                with monkeypatch.context() as patch:
                    patch.setenv("LAMDA_SHIM", "1" if way == "shim" else "0")
                    made = opened(bundles[name], way)
                    answers[way] = made(1, inputs)
                    made.close()
            assert answers["ctypes"] == answers["shim"] == answers["device"]

    def test_is_right(self, bundles: dict[str, str], way: str) -> None:
        made = opened(bundles["dense"], way)
        called = program(made, 1, way)
        for seed in range(20):
            ((dtype, shape, data),) = called([rows(4, seed).tobytes()])
            found = np.frombuffer(data, dtype).reshape(shape)
            np.testing.assert_array_max_ulp(found, dense(rows(4, seed)), 4)
        made.close()

    def test_outlives_the_next_call(self, bundles: dict[str, str], way: str) -> None:
        made = opened(bundles["add_one"], way)
        called = program(made, 1, way)
        first = called([rows(4).tobytes()])
        called([rows(4, 1).tobytes()])
        assert np.frombuffer(first[0][2], np.float32).tolist() == (rows(4) + 1).ravel().tolist()
        made.close()

    def test_of_large_and_empty_arrays(self, tmp_path: Any, way: str) -> None:
        """Large: more than the shim copies, which leaves it to the way of ctypes."""
        type_ = {"tuple": [make.array("int32", 0, 3), make.array("float32", "b", 3)]}
        directory = make.bundle(
            tmp_path / "two", lambda _, x: x, [],
            input=type_, output=type_, sizes={"b": [1, 30_000]}, batch="b",
        )  # fmt: skip
        made = opened(directory, way)
        for index, count in enumerate((1, 30_000)):
            data = rows(count).tobytes()
            assert made(index, [b"", data]) == [
                ("int32", (0, 3), b""), ("float32", (count, 3), data)
            ]  # fmt: skip
        made.close()

    def test_from_eight_threads(self, bundles: dict[str, str], way: str) -> None:
        made = opened(bundles["dense"], way)
        called, wrong, start = program(made, 1, way), [], threading.Barrier(8)

        def work(seed: int) -> None:
            start.wait()
            for i in range(150):
                x = rows(4, seed * 1000 + i)
                ((dtype, shape, data),) = called([x.tobytes()])
                if not np.allclose(np.frombuffer(data, dtype).reshape(shape), dense(x), 1e-5):
                    wrong.append((seed, i))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert 1 <= len(called._every) <= 8 and len(called._free) == len(called._every)
        made.close()


class TestAFailure:
    def test_keeps_its_message(self, bundles: dict[str, str], way: str) -> None:
        """An input too many, which only the plugin can find out."""
        made = opened(bundles["add_one"], way)
        right = program(made, 0, way)
        wrong = Program(right.client, right.loaded, [], [*right.inputs] * 2)
        for _ in range(3):
            with pytest.raises(PluginError) as caught:
                wrong([bytes(12), bytes(12)])
            assert str(caught.value) == (
                f"PJRT_LoadedExecutable_Execute failed in {right.client.api.path}: Execution "
                "supplied 2 arguments but compiled program expected 1"
            )
            del caught
            assert not wrong._every  # nothing is left of the call
        assert right([bytes(12)]) == [("float32", (1, 3), np.ones(3, np.float32).tobytes())]
        made.close()

    def test_that_is_still_held_when_the_engine_closes(
        self, bundles: dict[str, str], way: str
    ) -> None:
        """Its traceback holds the frame, whose buffers must not outlive the client."""
        made = opened(bundles["pair"], way)
        called = program(made, 1, way)
        with pytest.raises((IndexError, ValueError)) as caught:
            called([bytes(32)])
        assert len(called._every) == 1 and not called._free
        made.close()
        del caught
        assert not called._every

    def test_half_way_leaves_the_next_call_right(self, bundles: dict[str, str], way: str) -> None:
        made = opened(bundles["pair"], way)
        called = program(made, 1, way)
        good = [bytes(32), bytes(8)]
        expected = called(good)
        with pytest.raises((IndexError, ValueError)):
            called([bytes(32)])
        assert called(good) == expected
        made.close()


STATE = """
import os

def state():
    status = open("/proc/self/status").read()
    number = lambda key: int(status.split(key + ":")[1].split()[0])
    return {
        "KiB": number("RssAnon"), "threads": number("Threads"),
        "files": len(os.listdir("/proc/self/fd")),
        "maps": len(open("/proc/self/maps").readlines()),
    }

def grown(before):
    after = state()
    return {key: after[key] - before[key] for key in before}
"""

SIGNALS = """
import json, random, signal, sys, threading, time
from array import array
from serve import bundle
from serve.runtime import engine

armed = []

def handler(number, _):
    if armed:  # twice at most: the second one may find what follows the first
        armed.pop()
        raise KeyboardInterrupt if number == signal.SIGINT else TimeoutError

def disturb():
    while not stop.wait(random.random() / 2000):
        signal.pthread_kill(main, random.choice(kinds))

def answer(i):
    return made(0, [inputs[i % 8]])[0][2]

kinds = [signal.SIGALRM, signal.SIGINT, signal.SIGTERM]
for kind in kinds:
    signal.signal(kind, handler)
made = engine.open(bundle.read(sys.argv[1]))
if sys.argv[2] == "device":
    made._runner.client.platform = "elsewhere"
size = made.bundle.programs[0]["sizes"]["b"] * 3
inputs = [array("f", [value] * size).tobytes() for value in range(8)]
expected = [array("f", [value + 1] * size).tobytes() for value in range(8)]
right = [answer(i) for i in range(8)] == expected
before = state()
cut = done = 0
stop, main = threading.Event(), threading.main_thread().ident
thread = threading.Thread(target=disturb)
thread.start()
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    try:
        armed.extend([True, True])
        try:
            for i in range(done, done + 1000):
                right = answer(i) == expected[i % 8] and right
                done += 1
        finally:
            armed.clear()
    except (KeyboardInterrupt, TimeoutError):
        cut += 1
stop.set()
thread.join()
right = [answer(i) for i in range(8)] == expected and right
print(json.dumps({"right": right, "cut": cut, "done": done, **grown(before)}))
made.close()
"""

LOADING = """
import json, sys
from serve import bundle
from serve.runtime import engine

read = bundle.read(sys.argv[1])
answers = set()

def load():
    made = engine.open(read)
    for index, size in ((0, 12), (1, 48)):
        answers.add((index, made(index, [bytes(size)])[0][2]))
    made.close()

for _ in range(50):
    load()
before = state()
for _ in range(int(sys.argv[2])):
    load()
print(json.dumps({"answers": len(answers), **grown(before)}))
"""


class TestTheProcess:
    def test_signals_in_the_middle_of_calls(
        self, bundles: dict[str, str], tmp_path: Any, way: str
    ) -> None:
        """SIGALRM, SIGINT and SIGTERM raise wherever they find a call; the next one is right."""
        large = make.add_one(tmp_path / "large", sizes={"b": [4000]})
        for directory in (bundles["add_one"], large):
            found = make.python(STATE + SIGNALS, directory, way, "1.5")
            assert found["right"] and found["cut"] > 50, found
            assert found["threads"] <= 1 and found["files"] == 0
            assert found["KiB"] < 4096, found

    def test_loads_and_unloads_leave_nothing(self, bundles: dict[str, str], way: str) -> None:
        if way == "device":
            pytest.skip("as ctypes: what is loaded is the same")
        found = make.python(STATE + LOADING, bundles["dense"], str(LOADS))
        assert found["answers"] == 2
        assert found["threads"] == 0 and found["files"] == 0
        assert found["maps"] < 16 and found["KiB"] < 1024, found
