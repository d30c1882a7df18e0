"""The store: what is put comes back, in this process and in any other."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from parts import dense, rows

import lamda as lm
from lamda.testing.crash import watching

f, g, h = dense(4, 8, 0, "f"), dense(8, 2, 1, "g"), dense(8, 3, 2, "h")
tanh = lm.lift(jnp.tanh)
x = rows(3, 4)


@pytest.fixture
def store(tmp_path):
    return lm.Store(tmp_path / "store")


MODELS = {
    "one part": f,
    "a composition": f >> tanh >> g,
    "a frozen backbone": lm.branch(a=lm.fine_tune_head(f, g), b=lm.fine_tune_head(f, h)),
    "picks and pairs": f >> (g & h) >> lm.pick(1),
    "tied parts": f >> lm.branch(g, g),
    "shared parts": lm.add(f >> tanh, f >> tanh) >> lm.branch(g, g >> lm.identity, tanh >> g),
    "an untyped part at two types": f >> tanh >> g >> tanh,
    "whole numbers": lm.lift(lambda w, x: w["rows"][w["ids"]] + x[0, 0],
                             {"rows": jnp.ones((4, 2)), "ids": jnp.arange(3)},
                             input="float32[b, 4]"),
    "bfloat16": lm.lift(lambda w, x: x.astype(jnp.bfloat16) * w, jnp.ones(4, jnp.bfloat16),
                        input="float32[b, 4]"),
    "a scalar": lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[b, 4]"),
    "no weights": lm.lift(jnp.sin, input="float32[b, 4]"),
    "an empty tensor": lm.lift(lambda w, x: x + w.sum(), jnp.zeros((0, 3)), input="float32[b, 4]"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_is_put_comes_back(store, name):
    model = MODELS[name]
    address = store.put(model, ref="m")
    back = store.get("m")
    assert back.address == model.address == address
    assert repr(back) == repr(model)
    jax.tree.map(np.testing.assert_array_equal, back.weights, model.weights)
    jax.tree.map(np.testing.assert_array_equal, back.frozen, model.frozen)
    assert len(back.program.nodes) == len(model.program.nodes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), back(x), model(x))


def test_what_comes_back_differentiates_composes_and_trains(store):
    model = lm.fine_tune_head(f >> tanh, g)
    store.put(model, ref="m")
    back = store.get("m")

    def gradient(m):
        return jax.grad(lambda m: (m(x) ** 2).sum())(m).weights

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), gradient(back), gradient(model)
    )
    assert (back >> dense(2, 2)).address == (model >> dense(2, 2)).address
    successor = lm.succ(back, jax.tree.map(lambda w: w + 1, back.weights))
    store.put(successor, ref="m")
    assert store.get("m").address == successor.address


def test_what_comes_back_runs_without_its_source(store, tmp_path):
    store.put(f >> tanh >> g, ref="m")
    code = (
        "import lamda as lm, jax.numpy as jnp, sys\n"
        f"m = lm.Store.open({str(store.path)!r}).get('m')\n"
        "print(m.address, m(jnp.ones((2, 4))).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                          cwd=tmp_path)  # fmt: skip
    assert done.stdout.split(maxsplit=1) == [(f >> tanh >> g).address, "(2, 2)\n"]


def test_nothing_is_pickled(store):
    store.put(f >> tanh >> g, ref="m")
    for blob in store.path.rglob("blobs/sha256/*"):
        data = blob.read_bytes()
        assert not data.startswith(b"\x80") and b"cloudpickle" not in data
        assert os.fsencode(os.path.dirname(__file__)) not in data


def test_lineage(store):
    zero = lm.fine_tune_head(f, g)
    one = lm.succ(zero, jax.tree.map(lambda w: w + 1, zero.weights))
    two = lm.succ(one, jax.tree.map(lambda w: w + 1, one.weights))
    store.put(two, ref="m")
    log = store.log("m")
    assert [v.who for v in log] == [two.address, one.address, zero.address]
    assert [v.pred for v in log] == [one.address, zero.address, None]
    back = store.get("m")
    assert lm.who(lm.pred(lm.pred(back))) == zero.address
    assert lm.pred(lm.pred(lm.pred(back))) is None
    head = 4 * (2 + 8 * 2)
    assert log[0].added < head + 6000 < log[2].added + 6000


def test_a_successor_adds_its_tensors_alone(store):
    wide = lm.fine_tune_head(dense(4, 20000, 0, "wide"), dense(20000, 2, 1, "head"))
    store.put(wide, ref="m")
    before = {p.name: p.stat().st_ino for p in store.path.rglob("blobs/sha256/*")}
    moved = lm.succ(wide, jax.tree.map(lambda w: w + 1, wide.weights))
    store.put(moved, ref="m")
    after = {p.name: p.stat().st_ino for p in store.path.rglob("blobs/sha256/*")}
    assert {k: after[k] for k in before} == before
    assert len(after) - len(before) == 4  # a pack of kernel and bias, a record, config, manifest
    assert 4 * 20000 * 2 < store.log("m")[0].added < 4 * 20000 * 2 + 6000


def test_refs_move_to_successors_only(store):
    store.put(f, ref="m")
    store.put(f, ref="m")
    other = dense(4, 8, 5, "f")
    with pytest.raises(lm.SuccessionError, match="is not its successor .its predecessor is None"):
        store.put(other, ref="m")
    assert store.get("m").address == f.address
    assert other.address not in store.refs().values()
    store.put(other, ref="other")
    assert set(store.refs()) == {"m", "other"}


def test_a_receipt_is_kept(store):
    import optax

    fitted = lm.fit(lm.freeze(f) >> g, (rows(8, 4), rows(8, 2)), steps=3, batch=4, progress=False,
                    loss=lambda y, t: ((y - t) ** 2).sum(-1), optimizer=optax.sgd(0.1),
                    key=jax.random.key(0))  # fmt: skip
    store.put(fitted, ref="m")
    assert store.get("m").receipt == fitted.receipt is not None


def test_it_is_an_oci_layout_of_safetensors(store):
    model = lm.fine_tune_head(f, g)
    store.put(model, ref="m")
    assert json.loads((store.path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((store.path / "index.json").read_text())["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "m"

    def blob(descriptor):
        path = store.path / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")
        assert path.stat().st_size == descriptor["size"]
        return path.read_bytes()

    manifest = json.loads(blob(entry))
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    (pack,) = [layer for layer in manifest["layers"] if layer["mediaType"].endswith("weight.v1.raw")
               and "f/kernel" in safetensors.numpy.load(blob(layer))]  # fmt: skip
    assert pack["annotations"]["org.cncf.model.filepath"].startswith("packs/")
    tensors = safetensors.numpy.load(blob(pack))
    assert set(tensors) == {"f/bias", "f/kernel"}
    np.testing.assert_array_equal(tensors["f/kernel"], f.weights["kernel"])
    config = json.loads(blob(manifest["config"]))
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]


def test_the_same_model_is_the_same_bytes(tmp_path):
    code = (
        "import sys, test_store as t, lamda as lm\n"
        "lm.Store(sys.argv[1]).put(t.MODELS['a frozen backbone'], ref='m')"
    )
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True, env=env,
                       cwd=os.path.dirname(__file__))  # fmt: skip
    one, two = (
        {
            p.name: p.read_bytes()
            for p in (tmp_path / s).rglob("*")
            if p.is_file() and ".local" not in p.parts
        }
        for s in "12"
    )
    assert one == two


def test_damage_is_found(store):
    address = store.put(f, ref="m")
    (blob,) = {t["blob"] for s in store.record("m")["slots"] for t in s["tensors"]}
    path = store.path / "blobs" / "sha256" / blob.removeprefix("sha256:")
    good = path.read_bytes()
    path.chmod(0o644)
    for bad in (good[:-1], good[:100] + b"\xff" + good[101:], b""):
        path.write_bytes(bad)
        with pytest.raises(lm.StoreError, match=f"blob {blob} of .* is damaged"):
            store.get("m")
    path.unlink()
    with pytest.raises(lm.MissingError, match=f"blob {blob} is not in"):
        store.get("m")
    assert store.put(f, ref="m") == address  # what is lost can be put again
    assert path.read_bytes() == good
    assert store.get("m").address == address


def test_what_is_not_there(store, tmp_path):
    with pytest.raises(lm.MissingError, match="there is no 'm' in .*; its refs are none yet"):
        store.get("m")
    with pytest.raises(lm.MissingError, match="is not a store: it has no oci-layout"):
        lm.Store.open(tmp_path / "nothing")
    for ref in ("../m", "a/../b", "", "/m", "a b", "x" * 200, ".lock"):
        with pytest.raises(lm.SpecError, match="is no name for a ref"):
            store.put(f, ref=ref)


def test_a_part_of_an_address_is_enough(store):
    address = store.put(f)
    assert store.resolve(address[7:19]) == address
    assert store.get(address).address == address


def test_a_failed_write_leaves_nothing_behind(store, monkeypatch):
    store.put(f, ref="m")
    before = sorted(store.path.rglob("*"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(lm.succ(f, jax.tree.map(lambda w: w + 1, f.weights)), ref="m")
    monkeypatch.undo()
    assert sorted(store.path.rglob("*")) == before
    assert store.get("m").address == f.address


def test_a_tower_of_shared_parts_is_kept_as_it_is_shared(store):
    tower = dense(4, 4, 3, "t")
    for _ in range(30):
        tower = lm.add(tower, tower)
    store.put(tower, ref="m")
    back = store.get("m")
    assert back.address == tower.address
    assert len(store.record("m")["term"]) < 200


def test_a_ref_keeps_which_parts_are_frozen(store):
    model = f >> tanh >> g
    store.put(model, ref="m")
    assert store.put(lm.freeze(model), ref="frozen") == model.address
    assert (store.get("m").frozen, store.get("frozen").weights) == ({}, {})
    assert store.get(model.address).frozen == {}  # what was put first
    with pytest.raises(lm.SuccessionError, match="is not its successor"):
        store.put(lm.freeze(model), ref="m")
    store.put(lm.succ(model, lm.freeze(model)), ref="m")
    assert [v.who for v in store.log("m")] == [model.address] * 2
    assert store.put(model >> lm.identity, ref="again") == model.address


def test_what_was_got_is_put_again_as_it_is(store, tmp_path):
    store.put(f >> tanh >> g, ref="m")
    other = lm.Store(tmp_path / "other")
    back = store.get("m")
    other.put(back, ref="m")
    store.put(back, ref="m")
    assert other.find("m") == store.find("m")
    moved = lm.succ(back, jax.tree.map(lambda w: w + 1, back.weights))
    before = len(list(store.blobs.directory.iterdir()))
    store.put(moved, ref="m")
    assert len(list(store.blobs.directory.iterdir())) - before == 4


def test_opening_touches_no_tensor(store, monkeypatch):
    from lamda.store.blobs import Blobs

    store.put(lm.fine_tune_head(f >> tanh, g), ref="m")
    tensors = {t["blob"] for s in store.record("m")["slots"] for t in s["tensors"]}
    mapped = []
    real = Blobs.map
    monkeypatch.setattr(Blobs, "map", lambda self, d: (mapped.append(d), real(self, d))[1])
    back = lm.Store(store.path).get("m")
    assert repr(back) and back.address and not tensors & set(mapped)
    back(x)
    assert tensors <= set(mapped)


def test_source_is_kept_and_read_by_request_only(store):
    model = lm.lift(lambda w, x: jnp.tanh(x) * w, jnp.float32(2), input="float32[b, 4]", name="t")
    store.put(model, ref="m", source=True)
    assert store.get("m").address == model.address
    assert not (store.path / "trusted.log").exists()
    with pytest.warns(UserWarning, match="whoever wrote it can do here what you can do"):
        back = store.get("m", trust_source=True)
    (line,) = (store.path / "trusted.log").read_text().splitlines()
    assert json.loads(line)["address"] == model.address == back.address
    jax.jvp(back, (x,), (x,))  # a stored program has no forward derivative, source has
    back(x, None)


def test_source_that_is_not_the_function_is_refused(store, monkeypatch):
    import lamda.store.writing

    model = lm.lift(lambda x: x + 1, input="float32[b]", name="t")
    import cloudpickle

    monkeypatch.setattr(lamda.store.writing, "pickled",
                        lambda _: cloudpickle.dumps((lambda w, x: x + 2, None)))  # fmt: skip
    store.put(model, ref="m", source=True)
    with (
        pytest.warns(UserWarning, match="whoever wrote it"),
        pytest.raises(lm.StoreError, match="is not the function whose program is kept"),
    ):
        store.get("m", trust_source=True)
    assert store.get("m").address == model.address


def test_a_function_may_come_back_in_its_lineage(store):
    moved = lm.succ(f, jax.tree.map(lambda w: w + 1, f.weights))
    back = lm.succ(moved, f.weights)
    assert store.put(back, ref="m") == f.address
    assert [v.who for v in store.log("m")] == [f.address, moved.address, f.address]
    assert store.put(lm.succ(f, f.weights), ref="m") == f.address  # what is there stays
    assert len(store.log("m")) == 3 and len(store.log(f.address)) == 1


def test_a_ref_is_no_folder_of_refs(store):
    store.put(f, ref="a/b")
    for ref in ("a", "a/b/c"):
        with pytest.raises(lm.SpecError, match=f"'{ref}' can not stand beside 'a/b'"):
            store.put(f, ref=ref)
    assert set(store.refs()) == {"a/b"}


def test_directories_survive_a_power_cut(tmp_path):
    with watching(tmp_path) as cuts:
        lm.Store(tmp_path / "deep" / "store").put(f, ref="a/b")
    files = (p for p in tmp_path.rglob("*") if p.is_file() and ".local" not in p.parts)
    assert set(cuts[-1].sure) >= {str(p.relative_to(tmp_path)) for p in files}


def test_putting_what_is_damaged_again_does_not_make_it_trusted(store):
    store.put(f, ref="m")
    (blob,) = {t["blob"] for s in store.record("m")["slots"] for t in s["tensors"]}
    path = store.blobs.path(blob)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    store.put(dense(4, 8, 0, "f"), ref="again")
    for ref in ("m", "again"):
        with pytest.raises(lm.StoreError, match=f"blob {blob} of .* is damaged"):
            lm.Store(store.path).get(ref)


def test_a_stored_model_may_be_used_first_inside_of_a_transformation(tmp_path):
    """What is loaded there is numbers, and nothing of the transformation stays in the model."""
    store = lm.Store(tmp_path / "store")
    store.put(dense(4, 8), ref="m")
    got, x = store.get("m"), rows(3, 4)
    inside = jax.jit(lambda x: got(x))(x)
    np.testing.assert_array_equal(inside, got(x))
    assert got.weights["kernel"].shape == (4, 8)
