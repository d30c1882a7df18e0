"""Tuning: what is kept agrees, gained, and is kept by successors."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parts import dense, rows

import lamda as lm
import serve
from lamda.compile import program, targets, tune
from lamda.compile.executables import Executables
from lamda.compile.files import Files
from serve.errors import PluginError
from serve.runtime.measure import Measured

model = dense(64, 64, 0, "f") >> lm.lift(jnp.tanh) >> dense(64, 8, 1, "g")
UNKNOWN = {"xla_cpu_no_such_flag": "1"}
WIDE = {"xla_cpu_prefer_vector_width": "512"}
NARROW = {"xla_cpu_prefer_vector_width": "128"}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """A few flags and rounds are enough to see what happens."""
    monkeypatch.setattr(tune, "OPTIONS", (WIDE, NARROW, UNKNOWN))
    monkeypatch.setattr(tune, "ROUNDS", 3)


def entries(directory):
    manifest = json.loads((directory / "manifest.json").read_text())
    return [entry for each in manifest["programs"] for entry in each["executables"]]


def measured(monkeypatch, seconds, outputs=None):
    """Time flags as said: by their value, in all rounds; what is run and answered is real."""
    real = tune.measure.compare
    runs = []

    def compare(executables, *arguments, rounds):
        found = real(executables, *arguments, rounds=1)
        names = [_width(data) for data in executables]
        runs.append(names)
        return [
            Measured([seconds[name]] * rounds, (outputs or {}).get(name, one.outputs))
            for name, one in zip(names, found, strict=True)
        ]

    monkeypatch.setattr(tune.measure, "compare", compare)
    return runs


def _width(executable):
    """The vector width that an executable was asked for: its options are in it."""
    if b"xla_cpu_prefer_vector_width" not in executable:
        return ""
    return "512" if b"512" in executable.split(b"xla_cpu_prefer_vector_width")[1][:12] else "128"


class TestWhatIsKept:
    def test_the_fastest_that_agrees(self, tmp_path, monkeypatch):
        runs = measured(monkeypatch, {"": 1.0, "512": 0.9, "128": 0.5})
        report = lm.bundle(model, tmp_path, batch=4, targets=["cpu:native"], tune=True)
        (found,) = report.tuned
        assert (found.sizes, found.target, found.flags) == ({"b": 4}, "cpu:native", NARROW)
        assert found.gained == 0.5
        assert [(t.flags, t.gained, t.refused) for t in found.tries[:2]] == [
            (WIDE, pytest.approx(0.1), tune.SLOWER), (NARROW, 0.5, ""),
        ]  # fmt: skip
        # Who gained is measured a second time.
        assert [sorted(names) for names in runs] == [["", "128", "512"]] * 2
        (entry,) = entries(tmp_path)
        assert entry["flags"] == NARROW and entry["tuned"] is True
        assert serve.load(str(tmp_path)).engine.way == "executable"

    def test_nothing_where_nothing_gains(self, tmp_path, monkeypatch):
        measured(monkeypatch, {"": 1.0, "512": 0.98, "128": 1.2})
        report = lm.bundle(model, tmp_path, batch=4, targets=["cpu:native"], tune=True)
        (found,) = report.tuned
        assert (found.flags, found.gained) == ({}, 0.0)
        assert [t.refused for t in found.tries[:2]] == [
            "it gained 2.0%, and in 100% of the rounds: 3% and 80% count",
            "it gained -20.0%, and in 0% of the rounds: 3% and 80% count",
        ]
        (entry,) = entries(tmp_path)
        assert entry["flags"] == {} and len(list((tmp_path / "executables").iterdir())) == 1

    def test_nothing_that_differs(self, tmp_path, monkeypatch):
        wrong = [("float32", np.full((4, 8), 9, np.float32).tobytes())]
        measured(monkeypatch, {"": 1.0, "512": 0.1, "128": 0.5}, {"512": wrong})
        (found,) = lm.bundle(model, tmp_path, batch=4, targets=["cpu:native"], tune=True).tuned
        assert found.flags == NARROW
        assert "ulps of its largest number, 16 are allowed" in found.tries[0].refused

    def test_an_unknown_flag_is_left_out(self, tmp_path):
        (found,) = lm.bundle(model, tmp_path, batch=4, targets=["cpu:native"], tune=True).tuned
        unknown = found.tries[2]
        assert (unknown.flags, unknown.gained) == (UNKNOWN, None)
        assert "No such compile option: 'xla_cpu_no_such_flag'" in unknown.refused
        assert all(each.gained is not None for each in found.tries[:2])

    def test_why_is_told_however_deep_the_plugin_lies(self, tmp_path, monkeypatch):
        deep = "/" + "folder/" * 60 + "plugin.so"

        def build(code, target, flags):
            raise PluginError(f"{deep} could not compile: {deep}: No such option")

        trial = tune._Trial(SimpleNamespace(build=build), b"", None, None)
        trial.build((UNKNOWN,))
        (refused,) = trial.tried.values()
        assert refused.refused.endswith("plugin.so could not compile: plugin.so: No such option")


class TestWhereItIsKept:
    def test_a_successor_compiles_nothing_and_keeps_the_flags(self, tmp_path, monkeypatch):
        measured(monkeypatch, {"": 1.0, "512": 0.9, "128": 0.5})
        first = lm.bundle(model, tmp_path, batch=4, targets=["cpu:native"], tune=True)
        new = lm.succ(model, jax.tree.map(lambda w: w + 1, model.weights))
        second = lm.bundle(new, tmp_path, batch=4, targets=["cpu:native"], tune=True)
        assert (first.compiled, second.compiled) == (3, 0)
        (found,) = second.tuned
        assert (found.flags, found.tries, found.note) == (NARROW, (), tune.KNOWN)
        assert entries(tmp_path)[0]["flags"] == NARROW
        answer = serve.load(str(tmp_path))(json.dumps(rows(4, 64).tolist()).encode())
        np.testing.assert_allclose(json.loads(answer), new(rows(4, 64)), rtol=1e-4, atol=1e-5)

    def test_who_does_not_tune_gets_what_is_not_tuned(self, tmp_path, monkeypatch):
        measured(monkeypatch, {"": 1.0, "512": 0.9, "128": 0.5})
        tuned = lm.bundle(model, tmp_path / "a", batch=4, targets=["cpu:native"], tune=True)
        plain = lm.bundle(model, tmp_path / "a", batch=4, targets=["cpu:native"])
        fresh = lm.bundle(model, tmp_path / "b", batch=4, targets=["cpu:native"])
        assert plain.compiled == 1 and plain.tuned == ()
        assert plain.bundle == fresh.bundle != tuned.bundle
        assert "tuned" not in entries(tmp_path / "a")[0]

    def test_a_target_that_can_not_be_run_is_left_as_it_is(self, tmp_path, monkeypatch):
        here = tune.machine.here()
        monkeypatch.setattr(tune.machine, "here", lambda: tune.machine.Machine(here.arch, ["sse2"]))
        (found,) = lm.bundle(model, tmp_path, batch=4, targets=["cpu:x86-64-v2"], tune=True).tuned
        assert found.note.startswith(
            "the target cpu:x86-64-v2 can not be tuned here: this machine lacks cmov cx16"
        )
        assert (found.flags, found.tries) == ({}, ())
        assert "tuned" not in entries(tmp_path)[0]


def test_flags_that_end_the_process_end_no_others(tmp_path, monkeypatch):
    real = tune.measure.compare

    def compare(executables, *arguments, rounds):
        if any(_width(each) == "512" for each in executables):  # not run at all: it would not agree
            executables = [b"no executable"]
        return real(executables, *arguments, rounds=rounds)

    monkeypatch.setattr(tune.measure, "compare", compare)
    (found,) = lm.bundle(model, tmp_path, batch=4, targets=["cpu:native"], tune=True).tuned
    assert found.tries[0].refused.startswith("it does not run: ")
    assert found.tries[1].gained is not None


def test_the_measurement_is_real(tmp_path):
    """Every output of every executable, on the weights of the bundle."""
    whole = program.of(model)
    at = whole.at({"b": 4})
    executables = Executables(Files(tmp_path))
    target = targets.target("cpu:native")
    built = executables.build(program.stablehlo(at), target, {})
    with tune.Tuner(executables, whole) as tuner:
        one, two = tuner.run([built.executable, built.executable], at, target, 4)
    assert len(one.seconds) == len(two.seconds) == 4 and min(one.seconds + two.seconds) > 0
    ((_, data),) = tune.inputs(at)
    ((dtype, out),) = one.outputs
    x = jnp.asarray(np.frombuffer(data, np.float32).reshape(4, 64))
    found = np.frombuffer(out, dtype).reshape(4, 8)
    np.testing.assert_allclose(found, model(x), rtol=1e-4, atol=1e-5)
    assert two.outputs == one.outputs


class TestAgreement:
    @staticmethod
    def of(ours, theirs, dtype="float32"):
        pack = [[(dtype, np.asarray(each).astype(jnp.dtype(dtype)).tobytes())]
                for each in (ours, theirs)]  # fmt: skip
        return tune.disagreement(*pack)

    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
    def test_ulps_of_the_largest_number(self, dtype):
        eps = float(jnp.finfo(dtype).eps)
        assert self.of([4 + 4 * 16 * eps, 0], [4, 0], dtype) == ""
        assert self.of([4, 4 * 16 * eps], [4, 0], dtype) == ""
        assert self.of([4 + 4 * 17 * eps, 0], [4, 0], dtype) == (
            "an output differs by 17 ulps of its largest number, 16 are allowed"
        )

    def test_whole_numbers_are_equal(self):
        assert self.of([1, 2], [1, 2], "int32") == ""
        assert self.of([1, 3], [1, 2], "int32") == tune.NOT_EQUAL
        assert self.of([True], [False], "bool") == tune.NOT_EQUAL

    def test_what_is_no_number_is_where_it_was(self):
        nan, inf = np.nan, np.inf
        assert self.of([nan, inf, 1], [nan, inf, 1 + 2**-23]) == ""
        assert self.of([nan, inf, 1], [nan, -inf, 1]) != ""
        assert self.of([0, 1], [nan, 1]) != ""
        assert self.of([nan, 1], [0, 1]) != ""
        assert self.of([], []) == self.of([0, 0], [0, 0]) == ""


def test_inputs_are_small_and_always_the_same():
    type = {"a": "float32[b, 3]", "i": "int32[b]", "m": "bool[b]"}
    part = lm.lift(lambda x: jax.tree.map(jnp.sum, x), input=type)
    at = program.of(part).at({"b": 50})
    ((a, floats), (i, whole), (m, flags)) = tune.inputs(at)
    assert (a, i, m) == (("float32", (50, 3)), ("int32", (50,)), ("bool", (50,)))
    assert 0.5 < np.frombuffer(floats, np.float32).std() < 2
    assert set(np.frombuffer(whole, np.int32)) == {0, 1} == set(flags)
    assert tune.inputs(at)[0][1] == floats
