"""Differences of versions: told from their records, norms from what changed alone."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parts import dense

import lamda as lm
from lamda import cli
from lamda.diff import CHUNK
from lamda.store.blobs import Blobs

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
model = lm.fine_tune_head(f >> lm.lift(jnp.tanh), g)
moved = lm.succ(model, jax.tree.map(lambda w: w + 1, model.weights))


@pytest.fixture
def store(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(moved, ref="m")
    store.put(f >> dense(8, 3, 2, "h"), ref="other")
    return lm.Store(store.path)


def test_it_is_the_difference_of_the_models(store):
    for a, b in (("m", "other"), ("other", "m"), (model.address, "m")):
        assert store.diff(a, b) == lm.diff(store.get(a), store.get(b))
    assert not store.diff("m", "m") and str(store.diff("m", "m")) == f"the same: {moved.address}"


def test_what_changed_is_told(store):
    difference = store.diff(model.address, "m")
    kernel = float(jnp.linalg.norm(g.weights["kernel"]))
    assert [change.path for change in difference.tensors] == ["g/bias", "g/kernel"]
    bias, wide = difference.tensors
    assert (bias.norm, bias.relative) == (pytest.approx(2**0.5), None)  # it was zero
    assert (wide.norm, wide.relative) == (pytest.approx(4.0), pytest.approx(4 / kernel))
    assert str(difference) == (
        f"- {model.address}\n+ {moved.address}\n"
        f"~ g/bias    float32[2]     norm 1.414{'':{len(f'  {4 / kernel:.3g} of it')}}   8 bytes\n"
        f"~ g/kernel  float32[8, 2]      norm 4  {4 / kernel:.3g} of it  64 bytes\n"
        "2 tensors, 72 bytes"
    )


def test_parts_and_types_are_told(store):
    difference = store.diff("m", "other")
    assert difference.types == (
        "term: f >> tanh >> g -> f >> h",
        "output: float32[b, 2] -> float32[b, 3]",
    )
    assert [part.split(",")[0] for part in difference.parts] == [
        "- tanh: tanh", "- g: g", "+ h: h",
    ]  # fmt: skip
    assert [str(c).split("  ")[:2] for c in difference.tensors] == [
        ["- g/bias", "float32[2]"], ["- g/kernel", "float32[8, 2]"],
        ["+ h/bias", "float32[3]"], ["+ h/kernel", "float32[8, 3]"],
    ]  # fmt: skip


def test_nothing_is_read_but_what_changed(tmp_path, monkeypatch):
    wide = lm.fine_tune_head(dense(300, 300, 0, "wide"), dense(300, 300, 1, "head"))
    store = lm.Store(tmp_path / "store")
    store.put(wide, ref="a")
    store.put(lm.succ(wide, jax.tree.map(lambda w: w * 2, wide.weights)), ref="b")
    records = store.record("a"), store.record("b")
    places = [{t["path"]: t["blob"] for s in r["slots"] for t in s["tensors"]} for r in records]
    mapped = []
    real = Blobs.map
    monkeypatch.setattr(Blobs, "map", lambda self, d: (mapped.append(d), real(self, d))[1])
    store = lm.Store(store.path)
    difference = store.diff("a", "b")
    programs = {fn["program"] for r in records for fn in r["functions"]}
    assert places[0]["wide/kernel"] not in mapped and not programs & {*mapped}
    assert {p["head/kernel"] for p in places} <= {*mapped}
    (change,) = difference.tensors  # a bias of zeros, doubled, is what it was
    assert (change.path, change.relative) == ("head/kernel", pytest.approx(1.0))
    mapped.clear()
    assert not store.diff("a", "a") and not {*places[0].values()} & {*mapped}


def test_a_changed_blob_is_found_before_it_is_compared(store):
    blob = store.record("m")["slots"][-1]["tensors"][0]["blob"]
    path = store.blobs.path(blob)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(lm.StoreError, match=f"blob {blob} of .* is damaged"):
        store.diff(model.address, "m")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8", "bool", "complex64"])
def test_norms_of_every_dtype_over_several_pieces(dtype):
    generator = np.random.default_rng(0)
    old, new = (
        jnp.asarray(generator.integers(0, 2, 2 * CHUNK + 5)).astype(dtype) for _ in range(2)
    )
    make = [lm.lift(lambda w, x: x, {"w": w}, input="float32[b]") for w in (old, new)]
    (change,) = lm.diff(*make).tensors
    wide = np.complex128 if dtype == "complex64" else np.float64
    before, after = (np.asarray(a).astype(wide) for a in (old, new))
    norm = float(np.linalg.norm(after - before))
    assert change.norm == pytest.approx(norm)
    assert change.relative == pytest.approx(norm / float(np.linalg.norm(before)))


def test_what_is_not_finite_is_no_error():
    one, two = (
        lm.lift(lambda w, x: x * w, jnp.asarray(w, jnp.float32), input="float32[2]")
        for w in ([jnp.inf, 1], [jnp.inf, 2])
    )
    (change,) = lm.diff(one, two).tensors
    assert np.isnan(change.norm)
    told = json.loads(json.dumps(change.to_json(), allow_nan=False))
    assert (told["norm"], told["relative"]) == (None, None)


def test_the_command(store, capsys):
    assert cli.main(["diff", model.address, "m", "--store", str(store.path)]) == 0
    assert capsys.readouterr().out == f"{store.diff(model.address, 'm')}\n"
    assert cli.main(["diff", "m", "other", "--json", "--store", str(store.path)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value == store.diff("m", "other").to_json()
    assert value["tensors"][0] == {
        "path": "g/bias", "before": "float32[2]", "after": None,
        "norm": None, "relative": None, "bytes": 0,
    }  # fmt: skip


MEMORY = """
import resource, sys, lamda as lm
store = lm.Store.open(sys.argv[1])
store.diff("a", "a")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
anonymous = lambda: int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0])
at = anonymous()
(change,) = store.diff("a", "b").tensors
print(change.norm, anonymous() - at)
"""


def test_memory_stays_flat(tmp_path):
    if sys.platform != "linux":
        pytest.skip("what is resident and not of a file is told by Linux alone")
    big = lm.lift(lambda w, x: x, {"w": jnp.zeros(16 << 20, jnp.float32)}, input="float32[b]")
    store = lm.Store(tmp_path / "store")
    store.put(big, ref="a")
    store.put(lm.succ(big, {"w": jnp.ones(16 << 20, jnp.float32)}), ref="b")
    done = subprocess.run([sys.executable, "-c", MEMORY, str(store.path)], check=True,
                          capture_output=True, text=True)  # fmt: skip
    norm, grown = done.stdout.split()
    assert float(norm) == 4096.0
    assert int(grown) < 24_000, f"{grown} KiB for two tensors of 65,536 KiB"
