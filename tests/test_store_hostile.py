"""Stores that somebody prepared: links, pipes, absurd sizes. Nothing outside is read or changed."""

import errno
import hashlib
import json
import os
import subprocess
import threading
from pathlib import Path

import jax
import pytest
from parts import dense, rows
from store_faults import hurt, kept, moved, tensors
from test_store_bad_input import change, failing, first, mounted

import lamda as lm
from lamda import sign
from lamda.store.census import Census

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
MODEL = moved(f >> lm.lift(jax.numpy.tanh) >> (g & g))
x = rows(3, 4)


@pytest.fixture
def store(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(MODEL, ref="m")
    return store


@pytest.fixture
def outside(tmp_path):
    """A folder of files whose names are digests, as the blobs of another store are."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for data in (b"years", b"of work"):
        (folder / hashlib.sha256(data).hexdigest()).write_bytes(data)
    return folder


def soon(call):
    """What a call gives, which may not wait for anybody."""
    done = []
    thread = threading.Thread(target=lambda: done.append(call()), daemon=True)
    thread.start()
    thread.join(60)
    assert done, "it waits"
    return done[0]


def error_of(call) -> str:
    with pytest.raises(lm.errors.LamdaError) as caught:
        call()
    return str(caught.value)


# --- links ---


@pytest.mark.parametrize("link", ["versions/" + "0" * 64, "versions/other", "refs/deep"])
def test_a_collector_follows_no_link_within(store, outside, link):
    before = kept(store)
    (store.path / link).symlink_to(outside)
    store.gc(grace=0)
    assert len([*outside.iterdir()]) == 2 and kept(store) == before
    assert store.du().unneeded == 0 and lm.Store(store.path).get("m")(x)


@pytest.mark.parametrize("folder", ["versions", "blobs/sha256", "blobs", "signatures"])
def test_a_collector_takes_nothing_where_a_folder_is_elsewhere(store, outside, folder):
    place = store.path / folder
    if place.exists():
        place.rename(outside / "there")
    else:
        (outside / "there").mkdir()
    place.symlink_to(outside / "there")
    before = sorted(outside.rglob("*"))
    said = error_of(lambda: lm.Store(store.path).gc(grace=0))
    assert f"{place} is no file but a link or a folder: a store is all in one place" in said
    assert sorted(outside.rglob("*")) == before


def test_links_in_the_place_of_signatures_and_of_the_layout(store, tmp_path):
    folder = store.path / "signatures"
    folder.mkdir()
    link = folder / store.find("m")[7:]
    link.symlink_to("/dev/zero")
    assert "is no file but a link" in soon(lambda: error_of(store.gc))
    assert str(link) in " ".join(soon(store.verify).problems)
    store.put(moved(store.get("m")), ref="m")
    (store.path / "oci-layout").unlink()
    (store.path / "oci-layout").symlink_to("/dev/zero")
    assert "is no file but a link" in soon(lambda: error_of(lambda: lm.Store(store.path)))


# --- pipes and folders ---


def test_nothing_waits_for_a_pipe(store):
    os.mkfifo(store.path / "refs" / "pipe")
    os.mkfifo(store.blobs.directory / ("0" * 64))
    (store.path / "signatures").mkdir()
    os.mkfifo(store.path / "signatures" / store.find("m")[7:])
    for read in (
        lambda: store.get("pipe"),
        store.refs,
        lambda: store.put(f, ref="pipe"),
        lambda: store.gc(grace=0),
        store.du,
    ):
        assert "is no file but a link or a folder" in soon(lambda read=read: error_of(read))
    report = soon(store.verify)
    assert len([p for p in report.problems if "is no file but a link" in p]) == 3
    assert soon(lambda: store.get("m"))(x)


def test_a_folder_among_the_blobs_is_told_and_left(store):
    folder = store.blobs.directory / ("0" * 64)
    folder.mkdir()
    store.put(g)
    assert store.gc(grace=0).versions == 1 and folder.is_dir()
    assert str(folder) in " ".join(store.verify().problems)


# --- absurd sizes ---


def test_files_of_absurd_size_are_not_read(store):
    for name, read in (
        ("refs/m", lambda: store.get("m")), ("oci-layout", lambda: lm.Store(store.path)),
    ):  # fmt: skip
        good = (store.path / name).read_bytes()
        os.truncate(store.path / name, 1 << 40)
        assert len(soon(lambda read=read: error_of(read))) < 1000
        (store.path / name).write_bytes(good)
    os.truncate(store.path / "index.json", 1 << 40)
    assert soon(store.verify).mended == ["index.json"]
    assert lm.Store(store.path).get("m")(x)


def test_more_axes_than_an_array_has(store):
    change(store, lambda manifest, record: first(record).update(shape=[1] * 65))
    assert "f/bias has 65 axes, and an array has 64 at most" in error_of(lambda: store.get("m"))


def test_a_manifest_that_names_another_version_before_it(store):
    one = store.before(store.find("m"))
    for pred in (None, "sha256:" + "0" * 64):

        def edit(manifest, record, pred=pred):
            manifest["annotations"]["dev.lamda.pred"] = pred

        change(store, edit)
        said = error_of(lambda: store.get("m"))
        assert f"the version before it is {one}, and its manifest says {pred!r}" in said


@pytest.mark.parametrize("named", [
    {"digest": "../../x", "size": 1}, {"digest": "sha256:" + "0" * 64, "size": 1.5},
    {"digest": ["x"], "size": 1}, {"digest": "sha256:" + "0" * 64, "size": -1}, 7, [], {},
])  # fmt: skip
def test_signatures_that_make_no_sense(store, tmp_path, named):
    sign.keygen(tmp_path / "key")
    store.sign("m", tmp_path / "key.key")
    version = store.find("m")
    data = json.dumps({"config": named, "layers": [named]}).encode()
    path = store.path / "signatures" / version[7:]
    path.write_text(store.blobs.put([data]))
    for read in (store.du, store.gc, lambda: store.signed("m", [tmp_path / "key.pub"])):
        assert "Remove the file in signatures/" in error_of(read)
    assert "Remove the file in signatures/" in " ".join(store.verify().problems)
    store.put(moved(store.get("m")), ref="m")
    path.unlink()
    assert store.verify().clean


# --- disks ---


def test_a_blob_that_can_not_be_read_is_told_and_stays(store, monkeypatch):
    (blob, *_) = tensors(store, "m")
    before, real = kept(store), hashlib.file_digest

    def broken(file, kind):
        if os.fstat(file.fileno()).st_ino == store.blobs.path(blob).stat().st_ino:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", broken)
    report = store.verify()
    (problem,) = report.problems
    assert f"{store.blobs.path(blob)} can not be read: [Errno 5] Input/output error" in problem
    assert not report.bad and kept(store) == before and report.checked == len(before)


def test_a_whole_store_on_a_read_only_disk_is_clean(store, tmp_path):
    wrong = store.path / "versions" / ("0" * 64) / store.find("m")[7:]
    with mounted(tmp_path / "ro", "--bind", str(store.path)) as disk:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
        fixed = lm.Store(disk)
        assert fixed.verify(deep=True).clean
        sign.keygen(tmp_path / "key")
        with pytest.raises(lm.DiskError, match="Read-only file system"):
            fixed.sign("m", tmp_path / "key.key")
        with pytest.raises(lm.DiskError, match="Read-only file system"):
            lm.Store(disk / "inner")
        wrong.parent.mkdir()
        wrong.touch()
        report = fixed.verify()
        assert "Read-only file system" in " ".join(report.problems) and not report.mended
    assert store.verify().mended and not wrong.exists()


def test_a_store_that_can_not_be_made(tmp_path, monkeypatch):
    with (
        failing("mkdir", 1, errno.ENOSPC, monkeypatch),
        pytest.raises(lm.DiskError, match="does not take what is to be kept"),
    ):
        lm.Store(tmp_path / "store")


def test_what_is_damaged_twice_is_kept_twice(store):
    (blob, *_) = tensors(store, "m")
    found = set()
    for _ in range(3):
        path = store.blobs.path(blob)
        path.write_bytes(path.read_bytes() + bytes([len(found)]))
        found.add(path.read_bytes())
        assert [*store.verify().bad] == [blob]
        store.put(moved(f >> lm.lift(jax.numpy.tanh) >> (g & g)))
    there = {p.read_bytes() for p in (store.path / "quarantine").iterdir() if p.suffix != ".needed"}
    assert there == found and store.verify(deep=True).clean


# --- what happens meanwhile ---


def test_files_that_vanish_while_they_are_looked_at(store, monkeypatch):
    real = Path.iterdir
    gone = [store.blobs.directory / name for name in ("1" * 64, ".0123456789abcdef.tmp")]
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([*real(self), *gone]))
    assert store.verify().clean and store.du().unneeded == 0


def test_nobody_collects_between_what_names_a_version_and_its_reading(store, monkeypatch):
    store.put(dense(4, 8, 9, "other"))
    real, collected = Census._found, []

    def meanwhile(self):
        thread = threading.Thread(target=lambda: collected.append(lm.Store(store.path).gc(grace=0)))
        thread.start()
        thread.join(1)
        collected.append(thread)
        yield from real(self)

    monkeypatch.setattr(Census, "_found", meanwhile)
    assert store.verify().clean
    collected[0].join()
    assert collected[1].versions == 1


def test_a_collector_that_is_killed_leaves_no_signature_without_blobs(store, tmp_path, monkeypatch):
    sign.keygen(tmp_path / "key")
    store.put(f)
    store.sign(f.address, tmp_path / "key.key")
    version, real = store.find(f.address), os.unlink
    store.gc(grace=60)

    def killed(path, *rest, **more):
        real(path, *rest, **more)
        if Path(path).parent.parent.name == "versions":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            store.gc(grace=0)
    store.gc(grace=0)
    assert not store.blobs.has(version)
    store.put(dense(4, 8, 0, "f"))
    fresh = lm.Store(store.path)
    assert fresh.find(f.address) == version
    assert fresh.verify().clean and fresh.du() and fresh.gc() == (0, 0, 0)


def test_the_index_names_nothing_that_was_collected(store, tmp_path):
    sign.keygen(tmp_path / "key")
    store.put(f)
    store.sign(f.address, tmp_path / "key.key")
    index = store.path / "index.json"
    assert len(json.loads(index.read_bytes())["manifests"]) == 2
    store.gc(grace=0)
    assert len(json.loads(index.read_bytes())["manifests"]) == 1
    assert store.verify().mended == []


def test_a_ref_that_is_broken_leaves_the_others_in_the_index(store):
    store.put(f, ref="a")
    store.manifest(store.find("a"))
    store.blobs.path(store.find("a")).unlink()  # by another process
    store.put(g, ref="z")
    named = json.loads((store.path / "index.json").read_bytes())["manifests"]
    assert [e["annotations"]["org.opencontainers.image.ref.name"] for e in named] == ["m", "z"]


def test_usage_counts_versions_whose_notes_are_lost(store):
    found = store.du()
    for path in store.path.glob("versions/*/*"):
        path.unlink()
    assert store.du() == found and found.unneeded == 0 and len(found.versions) == 2


def test_usage_counts_what_is_lost_as_no_space(store):
    store.blobs.put([b"x" * 1000])
    (blob, *_) = tensors(store, "m")
    store.blobs.path(blob).unlink()
    assert store.du().unneeded == 1000


def test_a_grace_without_end_takes_nothing(store):
    store.put(f)
    assert store.gc(grace=float("inf")) == (0, 0, 0)


def test_what_a_killed_signer_left_is_collected(store, tmp_path):
    sign.keygen(tmp_path / "key")
    store.sign("m", tmp_path / "key.key")
    hurt(store, store.find("m"))
    store.verify()
    left = [store.path / p / ".0123456789abcdef.tmp" for p in ("signatures", "quarantine")]
    for path in left:
        path.write_bytes(b"half")
    lm.Store(store.path).put(MODEL)
    lm.Store(store.path).gc(grace=0)
    assert not any(path.exists() for path in left)


def test_the_name_of_a_ref_may_look_like_an_address(store):
    store.put(f, ref="20240101")
    (store.path / "refs" / "broken").write_text("junk")
    assert store.get("20240101").address == f.address
