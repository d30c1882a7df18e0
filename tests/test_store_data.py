"""Data sets in the store: as models are kept, in shards of which none is written twice."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import test_cli_docs as page
from hypothesis import given
from hypothesis import strategies as st
from parts import dense
from store_faults import hurt, kept

import lamda as lm
from lamda.cli import main
from lamda.store import checked, media, shards
from lamda.store.remote.mirror import Mirror

WIDE = 100_000
rng = np.random.default_rng(0)
x = rng.normal(size=(6, 4)).astype(np.float32)
y = np.arange(6, dtype=np.int32)


def rows(seed, count=6):
    draws = np.random.default_rng(seed)
    return draws.normal(size=(count, 4)).astype(np.float32), np.full(count, seed, np.int32)


def three():
    return lm.DataSet.of(*rows(1)).append(*rows(2), records=["ab" * 32]).append(*rows(3))


def same(a, b):
    pairs = zip(jax.tree.leaves(a.arrays()), jax.tree.leaves(b.arrays()), strict=True)
    return a == b and a.records == b.records and all(np.array_equal(p, q) for p, q in pairs)


def blobs_of(store, ref):
    return {t["blob"] for entry in store.record(ref)["shards"] for t in shards.tensors(entry)}


@pytest.fixture
def store(tmp_path):
    return lm.Store(tmp_path / "store")


# Versions


def test_what_is_put_is_what_comes_back(store):
    data = three()
    assert store.put_data(data, ref="d") == data.address == store.refs()["d"]
    again = lm.Store(store.path).data("d")
    assert same(again, data) and same(again.pred, data.pred)
    assert (again.input, again.target) == (data.input, data.target)
    assert same(store.data(data.pred.address), data.pred)
    log = store.log("d")
    assert [v.who for v in log] == [data.address, data.pred.address, data.pred.pred.address]
    assert [v.pred for v in log] == [v.who for v in log[1:]] + [None]
    assert [v.name for v in log] == ["18 rows", "12 rows", "6 rows"]


def test_large_tensors_and_trees_and_no_width(store):
    tree = {"ids": np.ones((WIDE, 2), np.int32), "none": np.ones((WIDE, 0), np.float32)}
    data = lm.DataSet.of(tree, (np.arange(WIDE), np.ones(WIDE, bool)))
    store.put_data(data, ref="d")
    found = lm.Store(store.path).data("d")
    assert same(found, data) and store.verify(deep=True).clean
    (array,) = {id(a): a for a in jax.tree.leaves(found.arrays()) if a.nbytes > 1 << 19}.values()
    assert not array.flags.writeable and not array.flags.owndata


def test_another_shard_is_all_that_is_written(store):
    data = lm.DataSet.of(np.ones((WIDE, 4), np.float32), np.arange(WIDE))
    store.put_data(data, ref="d")
    before = kept(store)
    more = store.data("d").append(*[a.repeat(1, 0) for a in (np.ones((2, 4), np.float32), y[:2])])
    store.put_data(more, ref="d")
    new = {name: size for name, size in kept(store).items() if name not in before}
    assert len(new) == 4  # the rows, the record, the config and the manifest
    assert sum(new.values()) < 8_000
    assert kept(store).items() >= before.items()


def test_a_shard_is_opened_where_it_is_used(store):
    data = three()
    store.put_data(data, ref="d")
    for blob in blobs_of(store, "d"):
        path = store.blobs.path(blob)
        path.rename(path.with_suffix(".away"))
    found = lm.Store(store.path).data("d")
    assert len(found) == 18 and found == data and str(found) == str(data)
    back = store.blobs.path(store.record("d")["shards"][1]["tensors"][0]["blob"])
    back.with_suffix(".away").rename(back)
    assert np.array_equal(found.take([7, 6])[0], rows(2)[0][[1, 0]])
    with pytest.raises(lm.MissingError, match="is not in .*Fetch it again"):
        found.take([0])


def test_the_same_set_put_again_is_nothing_new(store):
    store.put_data(three(), ref="d")
    before = kept(store)
    for ref in ("d", None, "other"):
        store.put_data(three(), ref=ref)
        lm.Store(store.path).put_data(three(), ref=ref)
    assert kept(store) == before and store.heads()["d"] == store.heads()["other"]


def test_a_set_that_was_never_put_is_put_with_those_before_it(store, tmp_path):
    store.put_data(lm.DataSet.of(*rows(1)), ref="d")
    store.put_data(three(), ref="d")  # two versions further
    other = lm.Store(tmp_path / "other")
    other.put_data(three(), ref="d")
    assert store.heads() == other.heads()  # the manifest follows from the data set
    assert kept(store) == kept(other)


# Refs


def test_a_ref_moves_to_successors_alone(store):
    data = three()
    store.put_data(data, ref="d")
    other = data.pred.append(*rows(9))
    for wrong in (data.pred, other, lm.DataSet.of(*rows(9)), lm.DataSet.of(*rows(1))):
        with pytest.raises(lm.SuccessionError, match="d has moved on, to sha256:.*append to it"):
            store.put_data(wrong, ref="d")
    unrecorded = lm.DataSet.of(*rows(1)).append(*rows(2)).append(*rows(3)).append(*rows(4))
    with pytest.raises(lm.SuccessionError):  # it does not tell what records the rows are of
        store.put_data(unrecorded, ref="d")
    assert store.refs() == {"d": data.address}


def test_models_and_data_sets_are_told_apart(store, capsys):
    model = dense(4, 2, 0, "f")
    store.put(model, ref="m")
    store.put_data(three(), ref="d")
    before = kept(store)
    for call, said in (
        (lambda: store.get("d"), "d is a data set, and a model is wanted here"),
        (lambda: store.put(model, ref="d"), "d is a data set, and a model is wanted here"),
        (lambda: store.data("m"), "m is a model, and a data set is wanted here: store.get('m')"),
        (lambda: store.put_data(three(), ref="m"), "m is a model, and a data set is wanted here"),
        (lambda: store.diff("d", "m"), "d is a data set, and models are compared"),
        (lambda: store.put_data(model), "Model is no data set"),  # type: ignore[arg-type]
        (lambda: store.export("d", "d.safetensors"), "d is a data set"),
    ):
        with pytest.raises(lm.SpecError) as told:
            call()
        assert said in str(told.value)
    assert kept(store) == before
    for command in ("bundle d out", "diff d m", "data show m", "show d --svg d.svg"):
        with_store = [*command.split(), "--store", str(store.path)]
        code = 2 if "--svg" in command else 1
        try:
            assert main(with_store) == code, command
        except SystemExit as left:
            assert left.code == code
        assert "data set" in capsys.readouterr().err


APPENDER = """
import sys
import numpy as np
import lamda as lm
root, name, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store, told = lm.Store(root), 0
print("ready", flush=True)
input()
for number in range(times):
    while True:
        row = np.full((1, 4), name, np.float32), np.array([number], np.int32)
        try:
            store.put_data(store.data("d").append(*row), ref="d")
            break
        except lm.SuccessionError:
            told += 1
print(told)
"""


def test_of_appends_at_once_one_wins_and_the_others_are_told(store):
    store.put_data(lm.DataSet.of(x[:1], y[:1]), ref="d")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(store.path), str(name), "8"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in (1, 2)
    ]  # fmt: skip
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in running]
    assert all(process.returncode == 0 for process in running), said
    inputs, targets = store.data("d").arrays()
    for name in (1, 2):
        assert targets[inputs[:, 0] == name].tolist() == [*range(8)]
    assert len(targets) == 17 and store.verify(deep=True).clean


def test_where_another_appends_in_between_nothing_is_lost(store, monkeypatch):
    first = lm.DataSet.of(*rows(1))
    store.put_data(first, ref="d")
    mine, theirs = first.append(*rows(2)), first.append(*rows(3))
    commit = store._commit

    def slow(entry, layers):
        monkeypatch.undo()
        lm.Store(store.path).put_data(theirs, ref="d")
        return commit(entry, layers)

    monkeypatch.setattr(store, "_commit", slow)
    with pytest.raises(lm.SuccessionError, match="has moved on"):
        store.put_data(mine, ref="d")
    assert same(store.data("d"), theirs)
    store.put_data(store.data("d").append(*rows(2)), ref="d")
    assert len(store.data("d")) == 18


# Care


def test_collecting_keeps_what_refs_need(store):
    store.put_data(three(), ref="d")
    store.put_data(lm.DataSet.of(*rows(9)), ref="other")
    before = blobs_of(store, "d")
    store.remove("other")
    taken = store.gc(grace=0)
    assert taken.versions == 1 and taken.blobs == 4
    assert same(lm.Store(store.path).data("d"), three()) and blobs_of(store, "d") == before
    store.remove("d")
    assert store.gc(grace=0).versions == 3 and not kept(store)


def test_usage_counts_a_shard_once(store):
    store.put_data(three(), ref="d")
    told = store.du()
    assert len(told.versions) == 3 and told.total == sum(kept(store).values())
    assert told.unneeded == 0 and told.shared > 0


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_shard_is_found_and_put_again(store, number):
    data = three()
    store.put_data(data, ref="d")
    blob = store.record("d")["shards"][number]["tensors"][0]["blob"]
    hurt(store, blob)
    with pytest.raises(lm.StoreError, match="its bytes have the digest"):
        lm.Store(store.path, verify="always").data("d").arrays()
    report = store.verify()
    log = [v.who for v in store.log("d")]
    assert report.bad == {blob: sorted(log[: 3 - number])} and not report.clean
    with pytest.raises(lm.MissingError, match="in quarantine"):
        lm.Store(store.path).data("d").arrays()
    head = store.heads()["d"]
    store.put_data(data, ref="d")
    assert same(lm.Store(store.path).data("d"), data) and store.heads()["d"] == head
    assert store.verify(deep=True).clean


@pytest.mark.parametrize("what", ["manifest", "record"])
def test_a_damaged_manifest_or_record_is_put_again(store, what):
    data = three()
    store.put_data(data, ref="d")
    manifest = store.heads()["d"]
    hurt(
        store, manifest if what == "manifest" else media.record(store.manifest(manifest))["digest"]
    )
    assert not lm.Store(store.path).verify().clean
    again = lm.Store(store.path)
    again.put_data(data, ref="d")
    assert again.heads()["d"] == manifest and lm.Store(store.path).verify(deep=True).clean
    assert same(again.data("d"), data)


def test_deep_verification_finds_a_record_that_says_another_address(store):
    data = three()
    store.put_data(data, ref="d")
    entry = json.loads(media.canonical(store.record("d")))
    first = lm.DataSet.of(*rows(1))
    for shard in entry["shards"][:1]:
        shard["address"] = lm.DataSet.of(*rows(5)).shards[0].address
    version = store._commit(entry | {"pred": None, "shards": entry["shards"][:1], "rows": 6,
                                     "address": first.address}, _layers(store))  # fmt: skip
    store.advance("wrong", version)
    report = lm.Store(store.path).verify(deep=True)
    assert any("the address of a shard is" in problem for problem in report.problems)
    assert same(store.data("d"), data)


def _layers(store):
    return store.manifest(store.heads()["d"])["layers"][1:]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("at", range(1, 9))
def test_where_the_disk_fails_the_set_is_as_it_was(store, monkeypatch, code, at):
    first = lm.DataSet.of(*rows(1))
    store.put_data(first, ref="d")
    count, real = iter(range(1, 1000)), os.fsync

    def fails(descriptor):
        if next(count) == at:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails)
    more = first.append(*rows(2))
    try:
        store.put_data(more, ref="d")
    except lm.DiskError:
        assert store.refs() == {"d": first.address}
        assert same(lm.Store(store.path).data("d"), first)
    else:
        assert next(count) <= at + 1 or store.refs() == {"d": more.address}
    monkeypatch.undo()
    store.put_data(more, ref="d")
    assert same(lm.Store(store.path).data("d"), more) and store.verify(deep=True).clean
    assert not list(store.path.rglob(".*.tmp"))


# What a stranger wrote


@st.composite
def changed(draw):
    """A change of one place of a record."""
    at = draw(st.sampled_from([
        ("rows",), ("shards",), ("input",), ("target",), ("kind",), ("name",), ("pred",),
        ("shards", 0), ("shards", 0, "count"), ("shards", 0, "tensors"), ("shards", 0, "records"),
        ("shards", 1, "records", "shape"), ("shards", 1, "records", "dtype"),
        ("shards", 0, "tensors", 0), ("shards", 0, "tensors", 0, "shape"),
        ("shards", 0, "tensors", 0, "offset"), ("shards", 0, "tensors", 0, "blob"),
        ("shards", 0, "tensors", 0, "dtype"), ("shards", 0, "address"),
    ]))  # fmt: skip
    deep = {"dict": {"a": {"array": ["float32", ["n", 4]]}}}
    for _ in range(draw(st.sampled_from([0, 2000]))):
        deep = {"tuple": [deep]}
    return at, draw(
        st.none() | st.integers(-(2**70), 2**70) | st.text(max_size=3) | st.just(deep)
        | st.lists(st.integers(-1, 9), max_size=3) | st.dictionaries(st.text(max_size=2), st.none())
    )  # fmt: skip


@given(changed())
def test_a_record_that_makes_no_sense_is_refused(tmp_path_factory, change):
    global KEPT
    if KEPT is None:
        KEPT = lm.Store(tmp_path_factory.mktemp("hostile") / "store")
        KEPT.put_data(three(), ref="d")
    manifest = KEPT.manifest(KEPT.heads()["d"])
    record = json.loads(media.canonical(KEPT.record("d")))
    (*folders, last), new = change
    node = record
    for folder in folders:
        node = node[folder]
    old, node[last] = node[last], new
    try:
        found = checked.config("sha256:" + "0" * 64, json.dumps(record).encode(), manifest)
    except (lm.StoreError, RecursionError):
        return
    except ValueError as error:
        assert "nested" in str(error)
        return
    told = {"name", "address", "offset", "blob", "records", "input", "target"}  # of other bytes
    assert new == old or last in told, change
    shards.read(found, KEPT.blobs)


KEPT: lm.Store | None = None


# Elsewhere


def test_a_registry_has_it_and_gives_it(store, host, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    url = f"oci://{host}/data-set:d"
    data = three()
    store.put_data(data.pred, ref="d")
    assert store.push(url, "d").versions == 2
    store.put_data(data, ref="d")
    moved = store.push(url, "d")
    assert (moved.versions, moved.blobs) == (1, 3)  # the shard, the record and the config
    other = lm.Store(tmp_path / "other")
    assert other.pull(url) == data.address
    assert same(other.data("d"), data) and other.verify(deep=True).clean
    assert other.heads() == store.heads()
    third = lm.Store(tmp_path / "third")
    third.put_data(lm.DataSet.of(*rows(9)), ref="d")
    with pytest.raises(lm.SuccessionError):
        third.pull(url)


def test_a_registry_that_lies_of_rows_is_not_believed(store, host, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    data = lm.DataSet.of(*rows(1))
    store.put_data(data, ref="d")
    entry = json.loads(media.canonical(store.record("d")))
    entry["address"] = lm.DataSet.of(*rows(2)).address
    store.advance("lie", store._commit(entry, _layers(store)))
    store.push(f"oci://{host}/lie:lie", "lie")
    other = lm.Store(tmp_path / "other")
    with pytest.raises(lm.StoreError, match="says that its address is"):
        other.pull(f"oci://{host}/lie:lie")
    assert not other.refs() and not other.versions()


def test_a_bucket_has_it_and_gives_the_shards_that_are_asked_for(s3, tmp_path):
    here = Mirror(s3, cache=tmp_path / "a", show=False)
    data = lm.DataSet.of(np.ones((WIDE, 4), np.float32), np.arange(WIDE)).append(*rows(1))
    here.put_data(data, ref="d")
    there = Mirror(s3, cache=tmp_path / "b", show=False)
    found = there.data("d")
    assert found == data and len(kept(there)) == 2  # a manifest and a record
    assert np.array_equal(found.take([WIDE])[0], rows(1)[0][:1])
    assert sum(kept(there).values()) < 10_000
    there.put_data(found.append(*rows(2)), ref="d")
    assert sum(kept(there).values()) < 20_000  # no shard came that was there already
    last = Mirror(s3, cache=tmp_path / "c", show=False)
    assert same(last.data("d"), data.append(*rows(2)))
    assert last.verify(deep=True).clean and len(last.log("d")) == 3
    with pytest.raises(lm.SuccessionError):
        here.put_data(data.append(*rows(9)), ref="d")
    assert last.du().versions[0].ref == "d"


def test_a_bucket_is_a_remote_too(store, s3, tmp_path):
    store.put_data(three(), ref="d")
    store.push(s3, "d")
    other = lm.Store(tmp_path / "other")
    assert other.pull(f"{s3}#d") == three().address
    assert same(other.data("d"), three()) and other.verify(deep=True).clean


def test_a_layout_is_brought_in_and_it_is_signed(store, tmp_path):
    data = three()
    store.put_data(data, ref="d")
    main(["keygen", str(tmp_path / "key")])
    (private, public) = sorted(tmp_path.glob("key*"), key=lambda p: p.suffix == ".pub")
    store.sign("d", private)
    assert store.signed("d", [public])["subject"]
    other = lm.Store(tmp_path / "other")
    assert other.import_layout(store.path) == {"d": data.address}
    assert same(other.data("d"), data) and other.signed("d", [public])


def test_other_tools_read_the_layout_and_the_blobs(store):
    from safetensors.numpy import load

    wide = {"ids": np.ones((WIDE, 2), np.int32), "x": np.zeros((WIDE, 4), np.float32)}
    narrow = {"ids": np.ones((1, 2), np.int32), "x": x[:1]}
    data = lm.DataSet.of(wide, np.arange(WIDE)).append(narrow, y[:1])
    store.put_data(data, ref="d")
    (entry,) = json.loads((store.path / "index.json").read_text())["manifests"]
    manifest = json.loads(store.blobs.get(entry["digest"]))
    assert entry["annotations"][media.REF_NAME] == "d"
    assert entry["annotations"][media.ADDRESS] == data.address
    kinds = [layer["mediaType"] for layer in manifest["layers"]]
    assert kinds[0] == media.RECORD and {*kinds[1:]} == {media.DATASET}
    paths = [layer["annotations"][media.PATH] for layer in manifest["layers"][1:]]
    assert paths[0] == "shards/0/inputs/ids.safetensors"
    assert re.fullmatch(r"shards/1/pack-[0-9a-f]{12}\.safetensors", paths[-1])
    pack = load(bytes(store.blobs.map(manifest["layers"][-1]["digest"])))
    assert {*pack} == {"inputs/ids", "inputs/x", "targets"}


# The command


def told(capsys, *arguments):
    capsys.readouterr()
    code = main([*map(str, arguments)])
    out = capsys.readouterr()
    return code, out.out + out.err


def saved(path, inputs, targets, **more):
    np.savez(path, inputs=inputs, targets=targets, **more)
    return path


def test_rows_of_files_are_added(tmp_path, capsys):
    from safetensors.numpy import save_file

    there = tmp_path / "store"
    code, text = told(capsys, "data", "add", "d", saved(tmp_path / "a.npz", x, y), "--store", there)
    data = lm.DataSet.of(x, y)
    assert (code, text) == (
        0, f"d: added 6 rows, 120 bytes in 1 shard; 6 rows, {data.address}\n"
    )  # fmt: skip
    save_file({"inputs": x[:2], "targets": y[:2]}, tmp_path / "b.safetensors")
    files = tmp_path / "b.safetensors", tmp_path / "a.npz"
    code, text = told(capsys, "data", "add", "d", *files, "--store", there, "--json")
    more = data.append(x[:2], y[:2]).append(x, y)
    assert code == 0 and json.loads(text) == {
        "ref": "d", "who": more.address, "added": 8, "bytes": 160, "rows": 14,
    }  # fmt: skip
    assert same(lm.Store(there).data("d"), more)


def test_names_below_inputs_are_a_tree(tmp_path, capsys):
    names = {"inputs/ids": x, "inputs/mask": x > 0, "targets/0": y, "targets/1": x}
    np.savez(tmp_path / "a.npz", **names)
    assert told(capsys, "data", "add", "d", tmp_path / "a.npz", "--store", tmp_path / "s")[0] == 0
    found = lm.Store(tmp_path / "s").data("d")
    assert same(found, lm.DataSet.of({"ids": x, "mask": x > 0}, (y, x)))


def test_what_is_shown(tmp_path, capsys):
    data = three()
    lm.Store(tmp_path).put_data(data, ref="d")
    for command in (("data", "show"), ("show",)):
        code, text = told(capsys, *command, "d", "--store", tmp_path)
        assert code == 0 and text == (
            f"18 rows in 3 shards\n  who     {data.address}\n  pred    {data.pred.address}\n"
            "  input   float32[n, 4]\n  target  int32[n]\n"
            + "".join(
                f"  {s.address[7:19]}         6 rows            120 bytes"
                + ("  of 1 record" if s.records else "") + "\n"
                for s in data.shards
            )
        )  # fmt: skip
        code, text = told(capsys, *command, "d", "--store", tmp_path, "--json")
        assert json.loads(text) == {
            "name": "18 rows", "who": data.address, "pred": data.pred.address, "rows": 18,
            "input": "float32[n, 4]", "target": "int32[n]",
            "shards": [
                {"who": s.address, "rows": 6, "bytes": 120, "records": len(s.recorded())}
                for s in data.shards
            ],
        }  # fmt: skip
    first = data.pred.pred.address
    assert "none: the first version" in told(capsys, "data", "show", first, "--store", tmp_path)[1]
    assert told(capsys, "who", "d", "--store", tmp_path) == (0, f"{data.address}\n")
    code, text = told(capsys, "log", "d", "--store", tmp_path)
    assert code == 0 and [line.split()[-2:] for line in text.splitlines()] == [
        ["18", "rows"], ["12", "rows"], ["6", "rows"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "made", "said"),
    [
        ("none.npz", lambda p: None, "No such file"),
        ("a.txt", lambda p: p.write_text("a"), "its name ends in '.txt'"),
        ("a.npz", lambda p: p.write_bytes(b""), "is no file of rows: "),
        ("a.npz", lambda p: p.write_bytes(b"PK\3\4" + b"\0" * 60), "is no file of rows: "),
        ("a.npz", lambda p: p.write_bytes(b"x" * 100), "is no file of rows: "),
        ("a.npz", lambda p: np.savez(p, x=x, y=y), "it has the names 'x', 'y'"),
        ("a.npz", lambda p: np.savez(p, **{"inputs": x, "inputs/a": x, "targets": y}), "below"),
        ("a.npz", lambda p: np.savez(p, **{"inputs/a": x, "inputs": x, "targets": y}), "below"),
        ("a.npz", lambda p: np.savez(p, inputs=x, targets=y, more=y), "'more'"),
        ("a.npz", lambda p: np.savez(p, inputs=x, targets=np.array([{}] * 6)), "no file of rows"),
        ("a.npz", lambda p: np.savez(p, inputs=x, targets=y[:3]), "with one first axis"),
        ("a.npz", lambda p: np.savez(p, inputs=x[:, :2], targets=y), "rows of a data set have one"),
        ("a.safetensors", lambda p: p.write_bytes(b"x" * 9), "safetensors"),
        ("a.safetensors", lambda p: p.write_bytes(b""), "safetensors"),
        ("folder", lambda p: p.mkdir(), "has no record of feedback"),
        ("folder", lambda p: (p.mkdir(), (p / "a.npz").touch()), "is no record of feedback"),
    ],
)
def test_a_bad_file_is_told_and_changes_nothing(tmp_path, capsys, name, made, said):
    store = lm.Store(tmp_path / "store")
    store.put_data(lm.DataSet.of(x, y), ref="d")
    before = kept(store)
    made(tmp_path / name)
    good = saved(tmp_path / "good.npz", x, y)
    code, text = told(capsys, "data", "add", "d", good, tmp_path / name, "--store", store.path)
    assert code == 1 and said in text and text.startswith("lamda: ") and text.count("\n") == 1
    assert kept(store) == before and store.refs() == {"d": lm.DataSet.of(x, y).address}


def test_a_truncated_npz_is_told(tmp_path, capsys):
    whole = saved(tmp_path / "a.npz", np.ones((1000, 4)), np.ones(1000)).read_bytes()
    for cut in (len(whole) // 2, len(whole) - 30):
        (tmp_path / "b.npz").write_bytes(whole[:cut])
        code, text = told(capsys, "data", "add", "d", tmp_path / "b.npz", "--store", tmp_path / "s")
        assert code == 1 and "is no file of rows" in text
    flipped = bytearray(whole)
    flipped[300] ^= 255
    (tmp_path / "b.npz").write_bytes(flipped)
    code, text = told(capsys, "data", "add", "d", tmp_path / "b.npz", "--store", tmp_path / "s")
    assert code == 1 and "is no file of rows" in text
    assert not (tmp_path / "s").exists()


def test_wrong_arguments(capsys):
    for wrong in (["data"], ["data", "add", "d"], ["data", "take", "d"], ["data", "show"]):
        with pytest.raises(SystemExit) as left:
            main(wrong)
        assert left.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_nothing_of_numpy_is_unpickled(tmp_path, capsys):
    class Bad:
        def __reduce__(self):
            return Path.touch, (Path(tmp_path / "ran"),)

    np.savez(tmp_path / "a.npz", inputs=np.array([Bad()]), targets=y[:1])
    assert told(capsys, "data", "add", "d", tmp_path / "a.npz", "--store", tmp_path / "s")[0] == 1
    assert not (tmp_path / "ran").exists()


# The page


PAGE = Path(__file__).parents[1] / "docs" / "data.md"


def test_the_page_of_data_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope, ran, said = {"__name__": "__main__"}, [], ""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        if language == "python":
            said = page.python(block, scope)
        elif language == "sh":
            said = page.shell(block)
        else:
            assert said == block
        ran.append(language)
    assert ran.count("sh") >= 2 and ran.count("python") >= 5
