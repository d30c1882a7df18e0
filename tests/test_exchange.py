"""Import and export: to the bit, read by the real libraries of each format."""

import contextlib
import json
import logging
import random
import shutil

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from parts import dense, rows

import lamda as lm
from lamda.cli import main
from lamda.sign import keygen
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
        good.replace(b"F32", b"F99"): "dtype F99 is none that a model keeps",
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


def described(*entries, numbers=b""):
    """A safetensors file with this text as header."""
    header = ", ".join(
        f'"{name}": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}'
        for name, shape, offsets in entries
    )
    text = f"{{{header}}}".encode()
    return len(text).to_bytes(8, "little") + text + numbers


HOSTILE = {
    "one name twice": (
        described(("a", [1], [0, 4]), ("a", [1], [4, 8]), numbers=bytes(8)), "the same name twice"
    ),
    "numbers of two": (described(("a", [1], [0, 4]), ("b", [1], [0, 4]), numbers=bytes(4)),
        "two tensors have bytes 0 to 4"),
    "numbers of none": (described(("a", [1], [4, 8]), numbers=bytes(8)), "none has 0 to 4"),
    "more at the end": (described(("a", [1], [0, 4]), numbers=bytes(8)), "no tensor has the last"),
    "a huge shape of nothing": (described(("a", [2**70, 0], [0, 0])), "Maximum allowed dimension"),
    "many axes": (described(("a", [1] * 100, [0, 4]), numbers=bytes(4)), "maximum supported"),
    "half a number": (described(("a", [1.0], [0, 4]), numbers=bytes(4)), "TypeError"),
    "no UTF-8": (b"\x04" + bytes(7) + "{}".encode("utf-16-le"), "ValueError|JSONDecodeError"),
    "bytes of another code": (b"\x06" + bytes(7) + "{}".encode("utf-16"), "UnicodeDecodeError"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_safetensors_would_refuse_is_refused(tmp_path, name):
    data, said = HOSTILE[name]
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(lm.StoreError, match=f"is no safetensors file that can be read: .*({said})"):
        exchange.read(tmp_path / "x.safetensors")
    with pytest.raises((safetensors.SafetensorError, ValueError)):
        safetensors.numpy.load_file(tmp_path / "x.safetensors")


def test_what_is_read_of_a_changed_file_is_what_safetensors_reads(tmp_path):
    chance, path = random.Random(0), tmp_path / "x.safetensors"
    good = safetensors.numpy.save({"a": np.ones((2, 3)), "b.c": np.ones(4, "i2"), "s": np.array(3)})
    pieces = [
        b"0",
        b"-1",
        b"null",
        b"[]",
        b'"F32"',
        b"99999999999999999999",
        b"1.0",
        b"[",
        b",",
        b" ",
    ]
    read = 0
    for _ in range(500):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(8, len(data))
            data[at : at + chance.randint(0, 2)] = chance.choice([*pieces, bytes([data[at] ^ 1])])
        if chance.random() < 0.5:  # the length fits again
            length = int.from_bytes(good[:8], "little") + len(data) - len(good)
            data[:8] = length.to_bytes(8, "little")
        path.write_bytes(data)
        with contextlib.suppress(lm.StoreError):
            equal(exchange.read(path), safetensors.numpy.load_file(path))
            read += 1
    assert 10 < read < 490


def test_of_several_files_one_is_to_be_named(tmp_path):
    for name in "ab":
        safetensors.numpy.save_file({name: np.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(lm.StoreError, match="has 2 of them .a.safetensors, b.safetensors, ...."):
        exchange.read(tmp_path)


def odd(**weights):
    """A model whose weights have odd names."""
    return lm.lift(lambda w, x: x * jax.tree.leaves(w)[0].sum(), weights, input="float32[b]")


@pytest.mark.parametrize("suffix", [".safetensors", ".msgpack", ".orbax"])
def test_two_tensors_of_one_path_are_refused_and_none_is_lost(tmp_path, suffix):
    store = lm.Store(tmp_path / "store")
    store.put(odd(**{"a/b": jnp.ones(1), "a": {"b": jnp.zeros(1)}}), ref="m")
    with pytest.raises(lm.SpecError, match="two tensors of .* have the path a/b, and a file has"):
        store.export("m", tmp_path / f"m{suffix}")
    assert not (tmp_path / f"m{suffix}").exists()


@pytest.mark.parametrize(
    ("weights", "suffix", "said"),
    [
        ({"__metadata__": jnp.ones(1)}, ".safetensors", "__metadata__ is no name for a tensor"),
        ({"a.b": jnp.ones(1), "a": {"b": jnp.zeros(1)}}, ".orbax", "are one name for Orbax"),
        ({"\ud800": jnp.ones(1)}, ".msgpack", "has no bytes in UTF-8"),
        ({"\ud800": jnp.ones(1)}, ".orbax", "has no bytes in UTF-8"),
    ],
)
def test_names_that_a_format_can_not_have(tmp_path, weights, suffix, said):
    path = tmp_path / f"m{suffix}"
    with pytest.raises(lm.SpecError, match=f"m{suffix} was not written: .*{said}"):
        exchange.write(path, exported(odd(**weights)), "")
    assert not path.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".msgpack", ".orbax"])
def test_odd_names_come_back(tmp_path, suffix):
    m = odd(**{".": jnp.ones(1), "..": jnp.ones(2), "é\x00": jnp.ones(3), "x" * 300: jnp.ones(4)})
    exchange.write(tmp_path / f"m{suffix}", exported(m), m.address)
    assert loaded(m, exchange.read(tmp_path / f"m{suffix}")) is m


@pytest.mark.parametrize(
    "tree", [{1: 1.0, "1": 2.0}, {"a/b": 1.0, "a": {"b": 2.0}}, {"a": [1.0], "a/0": 2.0}]
)
def test_two_arrays_of_one_name_in_a_msgpack_are_refused(tmp_path, tree):
    path = tmp_path / "x.msgpack"
    path.write_bytes(msgpack.packb(tree))
    with pytest.raises(lm.StoreError, match="two arrays are at "):
        exchange.read(path)


@pytest.mark.parametrize("leaf", ["text", b"bytes", 5, [1], np.ones(2, "f8"), np.array(2, "M8[D]")])
def test_leaves_of_other_types_are_told(tmp_path, leaf):
    path = tmp_path / "x.msgpack"
    path.write_bytes(flax.serialization.msgpack_serialize({"s": leaf}))
    with pytest.raises(lm.SpecError, match="does not fit"):
        loaded(odd(s=jnp.ones(2)), exchange.read(path), path=path)


def test_a_damaged_checkpoint_is_one_error_and_no_log(store, tmp_path, caplog):
    pytest.importorskip("orbax.checkpoint", reason="needs lamda[orbax]")
    path = tmp_path / "m.orbax"
    store.export("m", path)
    for file in path.rglob("*"):
        if file.is_file() and file.name != "_METADATA":
            file.write_bytes(b"")
    caplog.clear()
    with pytest.raises(lm.StoreError, match="m.orbax is no Orbax file that can be read"):
        exchange.read(path)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_what_can_not_be_written_is_told(store, tmp_path):
    (tmp_path / "file").touch()
    for suffix in (".safetensors", ".msgpack", ".orbax"):
        with pytest.raises(lm.DiskError, match="does not take what is to be kept"):
            store.export("m", tmp_path / "file" / f"m{suffix}")
    with pytest.raises(lm.SpecError, match="is of no format that is known by its name"):
        store.export("m", tmp_path)  # a directory is read by what is in it, and not written


def test_signatures_come_with_a_layout(store, tmp_path):
    keygen(tmp_path / "k")
    store.sign("m", tmp_path / "k.key")
    fresh = lm.Store(tmp_path / "fresh")
    assert fresh.import_layout(store.path) == {"m": model.address}
    assert fresh.signed("m", tmp_path / "k.pub")["subject"][0]["name"] == "m"


def test_a_layout_that_names_no_version(store, tmp_path):
    index = json.loads((store.path / "index.json").read_text())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "a:b"
    (store.path / "index.json").write_text(json.dumps(index))
    with pytest.raises(lm.MissingError, match="names no version: give each a name that a ref can"):
        lm.Store(tmp_path / "fresh").import_layout(store.path)


def test_the_command_makes_a_store_for_a_layout_and_for_nothing_else(store, tmp_path, capsys):
    where = ("--store", str(tmp_path / "fresh"))
    assert main(["import", str(tmp_path), *where]) == 1
    assert "is no OCI layout: it has no index.json. Give the" in capsys.readouterr().err
    assert not (tmp_path / "fresh").exists()
    assert main(["import", str(store.path), *where]) == 0


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
