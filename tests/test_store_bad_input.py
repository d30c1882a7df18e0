"""Bad input and faults: a clear error that says what to do, nothing lost, never a wrong model."""

import copy
import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts import dense, rows
from store_faults import hurt, kept, moved, tensors

import lamda as lm
from lamda.errors import LamdaError
from lamda.store import media

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
MODEL = moved(f >> lm.lift(jax.numpy.tanh) >> (g & g))
x = rows(3, 4)


@pytest.fixture
def store(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(MODEL, ref="m")
    return store


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template") / "store"
    lm.Store(root).put(MODEL, ref="m")
    return root


def everything(root: Path) -> None:
    """Read all of a store; errors are ours, and a model that comes is the one it says it is."""
    for read in (
        lambda s: s.get("m"),
        lambda s: s.log("m"),
        lambda s: s.find(MODEL.address),
        lambda s: s.get(MODEL.address[7:19]),
        lambda s: s.refs(),
        lambda s: s.du(),
        lambda s: s.gc(grace=0, dry=True),
    ):
        try:
            read(lm.Store(root))
        except LamdaError as error:
            assert str(error)


def change(store, edit) -> str:
    """Write the record of ``m`` anew, with right digests all the way; its manifest."""
    manifest = copy.deepcopy(store.manifest(store.find("m")))
    record = json.loads(store.blobs.get(manifest["layers"][0]["digest"]))
    edit(manifest, record)
    data = media.canonical(record)
    if manifest["layers"]:
        manifest["layers"][0] |= {"digest": store.blobs.put([data]), "size": len(data)}
    digest = store.blobs.put([media.canonical(manifest)])
    (store.path / "refs" / "m").write_text(digest)
    return digest


def first(record) -> dict:
    return record["slots"][0]["tensors"][0]


RECORDS = {
    "an absurd shape": (lambda r: first(r).update(shape=[2**61, 2**61]), "ends at byte"),
    "a shape that is no number": (lambda r: first(r).update(shape=["8"]), "an axis of f/bias is"),
    "a shape below zero": (lambda r: first(r).update(shape=[-8]), "an axis of f/bias is -8"),
    "another shape": (lambda r: first(r).update(shape=[2, 2]), "and its function takes"),
    "an offset outside": (lambda r: first(r).update(offset=10**9), "ends at byte 1,000,000,032"),
    "an offset below zero": (lambda r: first(r).update(offset=-64), "the offset of f/bias is -64"),
    "no dtype": (lambda r: first(r).update(dtype="float8"), "'float8' of f/bias is no dtype"),
    "a path for a digest": (lambda r: first(r).update(blob="../../x"), "'../../x' is no digest"),
    "a blob of nobody": (lambda r: first(r).update(blob="sha256:" + "0" * 64), "is no layer"),
    "a program of nobody": (lambda r: r["functions"][0].update(program="x"), "'x' is no digest"),
    "a forward node": (lambda r: r["term"].insert(0, ["compose", 1, 2]), "which is not before it"),
    "a cyclic node": (lambda r: r["term"].append(["named", "a", len(r["term"])]), "not before it"),
    "a node below zero": (lambda r: r["term"].append(["named", "a", -1]), "made of node -1"),
    "no node": (lambda r: r["term"].append({"a": 1}), "{'a': 1} is no term"),
    "no nodes": (lambda r: r["term"].clear(), "its term is empty"),
    "a slot below zero": (lambda r: r["term"].insert(0, ["lift", 0, -1]), "a slot is -1"),
    "a deep term": (
        lambda r: r["term"].extend(["named", "a", n] for n in range(20_000)),
        "its term is [0-9,]+ parts deep: raise sys.setrecursionlimit above 4 times that",
    ),
    "a deep type": (lambda r: r.update(input=nested(300)), "its input is nested too deeply"),
    "a newer record": (lambda r: r.update(version=3), "its version is 3, not 2; use a newer lamda"),
    "another address": (lambda r: r.update(address="sha256:" + "0" * 64), "its address is not"),
    "no address": (lambda r: r.pop("address"), "it has no 'address'"),
    "a pred that is none": (lambda r: r.update(pred="x"), "string indices"),
    "another pred": (
        lambda r: r["pred"].update(address="sha256:" + "0" * 64),
        "says that the version before it, .*, is sha256:0000.*, and it is",
    ),
    "a control of no kind": (lambda r: r["term"].append(["control", ["x"], 0]), "KeyError: 'x'"),
}  # fmt: skip


def nested(levels: int) -> dict:
    type = {"array": ["float32", [4]]}
    for _ in range(levels):
        type = {"tuple": [type]}
    return type


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_makes_no_sense_is_refused(store, name):
    edit, said = RECORDS[name]
    before = kept(store)
    digest = change(store, lambda manifest, record: edit(record))
    with pytest.raises(lm.StoreError, match=said):
        lm.pred(lm.Store(store.path).get("m"))
    everything(store.path)
    report = lm.Store(store.path).verify()
    assert not report.clean and any(
        digest in p or "blob " in p or "says" in p for p in report.problems
    )
    assert kept(store).items() >= before.items()


@pytest.mark.parametrize("data", [
    b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000,
    b"{}", b'{"layers": 1}', b'{"layers": [], "config": null}', b"9" * 10_000, b"NaN",
    b'{"layers":[{"digest":"../../x","size":1}],"config":{"digest":"x","size":1}}',
])  # fmt: skip
def test_a_manifest_that_is_none_is_refused(store, data):
    digest = store.blobs.put([data])
    (store.path / "refs" / "m").write_text(digest)
    for read in (store.get, store.log, store.record):
        with pytest.raises(lm.StoreError, match=f"blob {digest} is no manifest of a model: "):
            read("m")
    assert f"blob {digest} is no manifest" in " ".join(store.verify().problems)
    assert store.get(MODEL.address).address == MODEL.address


@pytest.mark.parametrize("text", ["", "junk", "sha256:12", "../../x", "\udcff", "x" * 10**6])
def test_a_ref_that_is_none_is_refused_and_blocks_no_other(store, text):
    path = store.path / "refs" / "m"
    digest = path.read_text()
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(lm.StoreError, match=f"{path} is no ref: it holds"):
        store.get("m")
    with pytest.raises(lm.StoreError, match=f"{path} is no ref: it holds"):
        store.put(moved(MODEL), ref="m")
    store.put(f, ref="other")
    assert store.get("other").address == f.address
    assert [p for p in store.verify().problems if str(path) in p]
    path.write_text(digest + "\n")
    assert store.get("m").address == MODEL.address and store.verify().clean


def test_damage_of_every_blob_is_told(store):
    for name in kept(store):
        for damage in (lambda d: d[:-1], lambda d: b"", lambda d: bytes([d[0] ^ 1]) + d[1:]):
            path = store.blobs.directory / name
            good = path.read_bytes()
            path.write_bytes(damage(good))
            fresh = lm.Store(store.path)
            try:
                lm.pred(fresh.get("m"))
                fresh.get("m")(x)
            except lm.StoreError as error:
                assert f"blob sha256:{name} of {store.path} is damaged" in str(error)
            else:
                with pytest.raises(lm.StoreError, match=name):
                    before = lm.pred(fresh.get("m"))
                    assert before is not None
                    before(x)
            path.write_bytes(good)
    assert store.verify(deep=True).clean


def test_links_are_refused(store, tmp_path):
    outside = tmp_path / "outside"
    (blob, *_) = tensors(store, "m")
    path = store.blobs.path(blob)
    path.rename(outside)
    path.symlink_to(outside)
    fresh = lm.Store(store.path)
    with pytest.raises(lm.StoreError, match=f"{path} is no file but a link or a folder"):
        fresh.get("m")
    assert any(str(path) in problem for problem in fresh.verify().problems)
    fresh.put(MODEL, ref="m")
    assert not path.is_symlink() and fresh.get("m")(x) and outside.exists()
    ref = store.path / "refs" / "m"
    ref.rename(outside)
    for link, name in ((ref, "m"), (store.path / "refs" / "deep", "deep/outside")):
        link.symlink_to(outside if name == "m" else tmp_path)
        with pytest.raises(lm.StoreError, match="is no file but a link or a folder"):
            fresh.get(name)


@pytest.mark.parametrize("name", ["../m", "/etc/passwd", "a/../../x", "~", "", "\0", "a//b"])
def test_names_stay_inside(store, name):
    before = kept(store)
    for call in (store.get, store.log, store.remove):
        with pytest.raises(LamdaError):
            call(name)
    with pytest.raises(lm.SpecError, match="is no name for a ref"):
        store.put(f, ref=name)
    assert kept(store) == before
    with pytest.raises(lm.StoreError, match="is no digest: sha256: and 64 hexadecimal digits"):
        store.blobs.path(f"sha256:../../{name}")


def test_a_directory_that_is_no_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(lm.StoreError, match="is no store and not empty: it has 'thesis.tex'"):
        lm.Store(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(lm.StoreError, match="is no store"):
        lm.Store(tmp_path / "thesis.tex")
    with pytest.raises(lm.MissingError, match="is not a store: it has no oci-layout"):
        lm.Store.open(tmp_path)
    (tmp_path / "half" / "blobs" / "sha256").mkdir(parents=True)  # the power was cut
    lm.Store(tmp_path / "half").put(f)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"imageLayoutVersion":"2.0.0"}', "[" * 10**5])
def test_a_store_of_another_version(store, text):
    (store.path / "oci-layout").write_text(text)
    with pytest.raises(lm.StoreError, match="does not say that this is a store that this lamda"):
        lm.Store(store.path)


# --- mutations ---

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.sampled_from([2**62, 2**200, -1.5, 1e308]),
    st.sampled_from(["", "x", "../../x", "sha256:" + "0" * 64, "float32", "compose", "\0"]),
    st.just([]), st.just({}), st.lists(st.integers(-1, 9), max_size=3),
    st.just({"tuple": []}), st.just({"array": ["float32", ["2*b", -1]]}),
)  # fmt: skip


def places(value, at=()):
    """Every place in a JSON value."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items if isinstance(value, dict | list) else ():
        yield from places(inner, (*at, key))


def mutated(value, data):
    """The JSON with one or two places changed: replaced, removed, copied from elsewhere."""
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from([p for p in places(value) if p]))
        inside = value
        for key in path:
            inside = inside[key]
        how = data.draw(st.sampled_from(["junk", "remove", "copy"]))
        if how == "remove":
            del inside[last]
        elif how == "junk":
            inside[last] = copy.deepcopy(data.draw(JUNK))
        else:
            other = value
            for key in data.draw(st.sampled_from([p for p in places(value)])):
                other = other[key]
            inside[last] = copy.deepcopy(other)
    return value


FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ", "60")), deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@FUZZ
@given(st.data())
def test_records_that_strangers_wrote(template, tmp_path_factory, data):
    root = tmp_path_factory.mktemp("fuzz") / "store"
    shutil.copytree(template, root)
    store = lm.Store(root)

    def edit(manifest, record):
        if data.draw(st.booleans()):
            mutated(record, data)
        else:
            mutated(manifest, data)

    try:
        change(store, edit)
    except (TypeError, KeyError):  # the record is not in its config any more
        return
    everything(root)
    report = lm.Store(root).verify(deep=True)
    try:
        model = lm.Store(root).get("m")
        told = [t.array for _, t, _ in model.tensors()]
    except LamdaError:
        assert not report.clean
    else:
        # What can be got is what its address says, or verify tells that it is not.
        new = lm.Model(model.term, model.environment, model.input, model.output, where="")
        assert not report.clean or (new.address == model.address and told)
    shutil.rmtree(root.parent)


@FUZZ
@given(st.data())
def test_bytes_that_a_disk_changed(template, tmp_path_factory, data):
    root = tmp_path_factory.mktemp("fuzz") / "store"
    shutil.copytree(template, root)
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "trusted.log")
    path = files[data.draw(st.integers(0, len(files) - 1))]
    bytes_ = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        if bytes_ and data.draw(st.booleans()):
            bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
        else:
            at = data.draw(st.integers(0, len(bytes_)))
            bytes_[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=5))
    path.write_bytes(bytes_)
    if path.name != "oci-layout":
        everything(root)
    for ref in ("m", MODEL.address):
        try:
            back = lm.Store(root).get(ref)
            jax.tree.map(lambda a, b: (a == b).all() or 1 / 0, back.weights, MODEL.weights)
        except LamdaError:
            continue
        assert back.address == MODEL.address
    shutil.rmtree(root.parent)


# --- errors of the operating system ---


class Raw(io.FileIO):
    """A file whose writes may fail."""

    def __init__(self, descriptor, call):
        super().__init__(descriptor, "wb")
        self.call = call

    def write(self, data):
        return self.call(self, data)


@contextmanager
def failing(name, number, code, monkeypatch):
    """The ``number``-th call of ``os.name`` fails; yields how many there were."""
    count = [0]
    real = io.FileIO.write if name == "write" else getattr(os, name)

    def call(*arguments, **options):
        count[0] += 1
        if count[0] == number:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        if name == "write":
            patch.setattr(os, "fdopen", lambda fd, *_, **__: io.BufferedWriter(Raw(fd, call)))
        else:
            patch.setattr(os, name, call)
        yield count


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace", "mkdir"])
def test_every_call_fails_in_turn(template, tmp_path, monkeypatch, name, code):
    new, number, failed = moved(MODEL), 0, 0
    while True:
        number += 1
        root = tmp_path / str(number)
        shutil.copytree(template, root)
        store = lm.Store(root)
        acknowledged = False
        with failing(name, number, code, monkeypatch) as count:
            try:
                store.put(new, ref="m")
                acknowledged = True
            except lm.DiskError as error:
                assert "does not take what is to be kept" in str(error) and error.errno == code
        if count[0] < number:
            break
        failed += not acknowledged
        fresh = lm.Store(root)
        assert [v.who for v in fresh.log("m")][-2:] == [v.who for v in lm.Store(template).log("m")]
        assert fresh.get("m").address == (new if acknowledged else MODEL).address
        assert not list(root.rglob(".*.tmp"))
        assert fresh.verify().clean
        fresh.put(new, ref="m")
        assert fresh.get("m").address == new.address and fresh.verify().clean
    assert failed > 0


@contextmanager
def mounted(folder: Path, *options: str):
    """A file system of its own; skips where this machine refuses mounts."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine refuses mounts: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        store = lm.Store(disk / "store")
        store.put(MODEL, ref="m")
        before = kept(store)
        wide = dense(300, 1000, 0, "wide")
        with pytest.raises(lm.DiskError, match="No space left on device. Nothing that was kept"):
            store.put(wide, ref="wide")
        assert kept(store) == before and store.refs() == {"m": MODEL.address}
        assert not list(store.path.rglob(".*.tmp"))
        assert lm.Store(store.path).get("m")(x) and store.verify(deep=True).clean


def test_a_disk_that_is_read_only(store, tmp_path):
    with mounted(tmp_path / "ro", "--bind", str(store.path)) as disk:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        fixed = lm.Store(disk)
        assert fixed.get("m")(x) and fixed.log("m") and fixed.du().total
        for change in (
            lambda: fixed.put(f, ref="f"), lambda: fixed.remove("m"), lambda: fixed.gc(grace=0)
        ):  # fmt: skip
            with pytest.raises(lm.DiskError, match="Read-only file system"):
                change()
        (blob, *_) = tensors(store, "m")
        hurt(store, blob)
        report = lm.Store(disk).verify()
        assert blob in report.bad and "Read-only file system" in " ".join(report.problems)


def test_digests_are_of_bytes(store):
    data = b"x" * 100
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with pytest.raises(lm.StoreError, match="nothing was kept"):
        store.blobs.put(iter([b"y"]), digest)
    assert not store.blobs.has(digest) and store.blobs.put([data]) == digest
