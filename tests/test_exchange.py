"""Import and export: to the bit, read by the real libraries of each format."""

import json
import shutil

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from parts import dense, rows

import lamda as lm
from lamda.cli import main
from lamda.store import exchange
from lamda.store.exchange.naming import exported, loaded

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
many = lm.lift(
    lambda w, x: x.astype(jnp.bfloat16) * w["half"] * w["ids"][0].astype(jnp.bfloat16),
    {"half": jnp.full(2, 1.5, jnp.bfloat16), "ids": jnp.arange(3), "flag": jnp.ones(1, bool),
     "scalar": jnp.float32(2)},
    input="float32[b, 2]", name="many",
)  # fmt: skip
model = lm.fine_tune_head(f, g >> many)
x = rows(3, 4)


def other(model):
    return lm.succ(model, jax.tree.map(lambda w: w * 3 + 1, model.weights))


def arrays(model):
    return {name: np.asarray(tensor.array) for name, tensor in exported(model).items()}


def equal(a, b):
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert (array.dtype, array.shape) == (b[name].dtype, b[name].shape), name
        assert array.tobytes() == np.asarray(b[name]).tobytes(), name


@pytest.fixture
def store(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(model, ref="m")
    return store


@pytest.mark.parametrize("suffix", [".safetensors", ".msgpack", ".orbax"])
def test_what_is_exported_comes_back_to_the_bit(store, tmp_path, suffix):
    new = other(model)
    store.put(new, ref="m")
    path = tmp_path / f"m{suffix}"
    assert store.export("m", path) == len(exported(model)) == 8
    equal(arrays(new), exchange.read(path))
    fresh = lm.Store(tmp_path / "fresh")
    fresh.put(model, ref="m")
    assert fresh.import_weights(path, "m") == new.address == fresh.resolve("m")
    assert [v.who for v in fresh.log("m")] == [new.address, model.address]
    np.testing.assert_array_equal(fresh.get("m")(x), new(x))


def test_safetensors_reads_what_is_exported(store, tmp_path):
    store.export("m", tmp_path / "m.safetensors")
    with safetensors.safe_open(tmp_path / "m.safetensors", "flax") as file:
        assert file.metadata() == {"dev.lamda.address": model.address}
        names = file.keys()
        equal(arrays(model), {name: np.asarray(file.get_tensor(name)) for name in names})


def test_flax_reads_what_is_exported(store, tmp_path):
    store.export("m", tmp_path / "m.msgpack")
    tree = flax.serialization.msgpack_restore((tmp_path / "m.msgpack").read_bytes())
    np.testing.assert_array_equal(tree["f"]["kernel"], f.weights["kernel"])


def test_orbax_reads_what_is_exported(store, tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint", reason="needs lamda[orbax]")
    store.export("m", tmp_path / "m.orbax")
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.restore(tmp_path / "m.orbax")
        said = reader.metadata(tmp_path / "m.orbax").custom_metadata
    np.testing.assert_array_equal(tree["f"]["kernel"], f.weights["kernel"])
    assert said == {"dev.lamda.address": model.address}
    with pytest.raises(lm.SpecError, match="m.orbax was not written: it is there"):
        store.export("m", tmp_path / "m.orbax")


def test_what_real_libraries_write_is_imported(store, tmp_path):
    new = other(model)
    tree = {"net": {"f": new.frozen["f"], **new.weights}}
    tree["net"]["many"] = {k: v for k, v in arrays_of(new).items()}
    (tmp_path / "net.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    store.put(model, ref="flax")
    assert store.import_weights(tmp_path / "net.msgpack", "flax", rename={"net": ""}) == new.address
    ocp = pytest.importorskip("orbax.checkpoint", reason="needs lamda[orbax]")
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "net", tree)
    store.put(model, ref="orbax")
    assert store.import_weights(tmp_path / "net", "orbax", rename={"net/": ""}) == new.address


def arrays_of(model):
    return {n.split("/")[1]: a for n, a in arrays(model).items() if n.startswith("many/")}


def test_shards_with_dots(store, tmp_path):
    new = other(f)
    store.put(f, ref="f")
    parts = {"a.safetensors": "model.kernel", "b.safetensors": "model.bias"}
    for file, name in parts.items():
        leaf = np.asarray(new.weights[name.split(".")[1]])
        safetensors.numpy.save_file({name: leaf}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, name in parts.items()}}))
    for path, ref in ((index, "f"), (tmp_path, "g")):
        assert store.import_weights(path, f, ref=ref, rename={"model": ""}) == new.address
    for wrong in ("../a.safetensors", "/etc/passwd", "none.safetensors"):
        index.write_text(json.dumps({"weight_map": {"model.kernel": wrong}}))
        with pytest.raises(
            lm.StoreError, match="is no safetensors file that can be read: .*beside"
        ):
            exchange.read(index)


def test_an_open_flax_model_is_closed(store, tmp_path):
    module = lm.lift(nn.Dense(2, name="head"), input="float32[b, 4]")
    params = nn.Dense(2).init(jax.random.key(7), x)
    path = tmp_path / "head.msgpack"
    path.write_bytes(flax.serialization.to_bytes(params))
    address = store.import_weights(path, module, ref="head", rename={"params": ""})
    np.testing.assert_array_equal(store.get("head")(x), nn.Dense(2).apply(params, x))
    assert address == store.resolve("head") and len(store.log("head")) == 1
    with pytest.raises(lm.SpecError, match="head is open, so all of its weights must come from"):
        store.import_weights(path, module, strict=False)


def test_all_that_does_not_fit_is_told_at_once(store):
    given = {"kernel": jnp.ones((4, 9)), "other": jnp.ones(1)}
    with pytest.raises(lm.SpecError) as error:
        loaded(f, given, path="x.safetensors")
    assert str(error.value) == (
        "x.safetensors does not fit f, and nothing was changed:\n"
        "  of another type: kernel: float32[4, 9] is not float32[4, 8]\n"
        "  missing: bias\n"
        "  not asked for: other\n"
        "Say other names with rename={'theirs': 'ours'}, cast or reshape first, or take what fits "
        "with strict=False."
    )
    half = {"kernel": f.weights["kernel"].astype(jnp.bfloat16)}
    with pytest.raises(lm.SpecError, match=r"bfloat16\[4, 8\] is not float32\[4, 8\]"):
        loaded(f, half, strict=False)
    some = loaded(f, {"bias": jnp.ones(8), "other": jnp.ones(1)}, strict=False)
    np.testing.assert_array_equal(some.weights["bias"], jnp.ones(8))
    np.testing.assert_array_equal(some.weights["kernel"], f.weights["kernel"])
    with pytest.raises(lm.SpecError, match="'a.bias' and 'bias' are for one place"):
        loaded(f, {"bias": jnp.ones(8), "a.bias": jnp.ones(8)}, rename={"a": ""}, strict=False)


def test_equal_weights_are_the_model_itself():
    assert loaded(f, arrays(f)) is f


def test_bad_files(tmp_path):
    good = safetensors.numpy.save({"a": np.ones(3, np.float32)})
    path = tmp_path / "x.safetensors"
    bad = {
        b"": "it has 0 bytes", good[:4]: "it has 4 bytes", good[:-1]: "its numbers would be at",
        b"\xff" * 40: "its header would have", b"\x02" + bytes(7) + b"[]": "TypeError",
        good.replace(b"F32", b"F99"): "dtype F99 is none that JAX has",
        good.replace(b"[3]", b"[4]"): "12 bytes are not float32",
        good[:40]: "its header would have",
        (200_000).to_bytes(8, "little") + b"[" * 200_000: "RecursionError",
    }  # fmt: skip
    for data, said in bad.items():
        path.write_bytes(data)
        with pytest.raises(lm.StoreError, match=f"x.safetensors is no safetensors .*: .*{said}"):
            exchange.read(path)
    (tmp_path / "x.msgpack").write_bytes(b"\xc1")
    with pytest.raises(lm.StoreError, match="x.msgpack is no Flax msgpack file that can be read"):
        exchange.read(tmp_path / "x.msgpack")
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(lm.SpecError, match="x.pt is of no format that is known by its name"):
        exchange.read(tmp_path / "x.pt")
    with pytest.raises(lm.MissingError, match="there is no .*nothing.safetensors"):
        exchange.read(tmp_path / "nothing.safetensors")
    (tmp_path / "step").mkdir()
    with pytest.raises(lm.StoreError, match="Give the directory of one item, as in 100/default"):
        exchange.read(tmp_path / "step")


def test_a_layout_of_another_tool_comes_in(store, tmp_path):
    store.put(other(model), ref="m")
    foreign = tmp_path / "foreign"
    shutil.copytree(store.path / "blobs", foreign / "blobs")
    shutil.copy(store.path / "index.json", foreign)
    fresh = lm.Store(tmp_path / "fresh")
    assert fresh.import_layout(foreign) == {"m": other(model).address}
    assert len(fresh.log("m")) == 2
    for path in foreign.rglob("blobs/sha256/*"):
        if path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    worse = lm.Store(tmp_path / "worse")
    with pytest.raises(lm.StoreError):
        worse.import_layout(foreign)
    assert worse.refs() == {} and worse.versions() == {}
    with pytest.raises(lm.MissingError, match="is no OCI layout: it has no index.json"):
        worse.import_layout(tmp_path)


def test_what_another_tool_wrote_into_the_store_itself(store, tmp_path):
    """As skopeo does: blobs and an index, no refs."""
    here = lm.Store(tmp_path / "here")
    for path in store.blobs.directory.iterdir():
        shutil.copy(path, here.blobs.directory)
    shutil.copy(store.path / "index.json", here.path)
    assert here.refs() == {}
    assert here.import_layout(here.path) == {"m": model.address} == here.refs()
    assert here.get("m").address == model.address


def test_the_commands(store, tmp_path, capsys):
    where = ("--store", str(store.path))
    path = str(tmp_path / "m.safetensors")
    assert main(["export", "m", path, *where]) == 0
    assert capsys.readouterr().out == f"{path}: 8 tensors\n"
    moved = exchange.read(path) | {"g/bias": np.ones(2, np.float32)}
    moved = {f"net.{name.replace('/', '.')}": value for name, value in moved.items()}
    new = tmp_path / "new.msgpack"
    new.write_bytes(flax.serialization.to_bytes(moved))
    assert main(["import", str(new), "--into", "m", "--rename", "net=", *where]) == 0
    assert capsys.readouterr().out.strip() == store.resolve("m") != model.address
    assert len(store.log("m")) == 2
    assert main(["import", str(new), "--into", "m", *where]) == 1
    assert "does not fit" in capsys.readouterr().err
    fresh = lm.Store(tmp_path / "fresh")
    assert main(["import", str(store.path), "--store", str(fresh.path)]) == 0
    assert capsys.readouterr().out == f"m  {store.resolve('m')}\n"
