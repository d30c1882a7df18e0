"""Care: collecting, verifying, quarantine, usage; writers, readers and a collector at once."""

import json
import os
import time

import jax
import pytest
from parts import dense, rows
from store_faults import campaign, hurt, kept, moved, tensors

import lamda as lm
from lamda import cli
from lamda.store.verify import Report
from lamda.testing.crash import watching

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
x = rows(3, 4)


@pytest.fixture
def store(tmp_path):
    return lm.Store(tmp_path / "store")


def test_what_a_ref_needs_is_not_collected(store):
    two = moved(moved(f >> g))
    store.put(two, ref="m")
    before = kept(store)
    assert store.gc(grace=0) == (0, 0, 0)
    assert kept(store) == before
    assert store.verify(deep=True).clean


def test_what_no_ref_needs_is_collected_after_a_time(store):
    store.put(f, ref="m")
    before = kept(store)
    store.put(moved(f))  # of no ref
    store.put(g, ref="g")
    store.remove("g")
    assert store.gc() == (0, 0, 0)
    told = store.gc(grace=0, dry=True)
    taken = store.gc(grace=0)
    assert told == taken and taken.versions == 2
    assert kept(store) == before
    with pytest.raises(lm.MissingError, match="there is no"):
        store.get(g.address)
    assert store.verify().clean


def test_a_version_that_is_put_again_is_young_again_and_stays_the_first(store):
    other = lm.freeze(f)
    store.put(f)
    first = store.find(f.address)
    store.put(other)
    for path in store.path.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**12))
    store.put(dense(4, 8, 0, "f"))
    assert store.find(f.address) == first
    assert store.gc(grace=60).versions == 1
    assert store.get(f.address).address == f.address and store.verify().clean


def test_what_a_killed_writer_left_is_collected(store):
    store.put(f, ref="m")
    left = [store.path / p / ".0123456789abcdef.tmp" for p in ("", "blobs/sha256", "refs")]
    for path in left:
        path.write_bytes(b"half")
    store.gc()
    assert all(path.exists() for path in left)
    store.gc(grace=0)
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("call", range(1, 12))
def test_a_collector_that_is_killed_leaves_a_whole_store(store, monkeypatch, call):
    store.put(moved(f), ref="m")
    store.put(moved(g), ref="g")
    store.remove("g")
    real, calls = os.unlink, iter(range(1, 1000))

    def unlink(*arguments, **options):
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(12):
            store.gc(grace=0)
            os.unlink(store.path / "nothing") if call > 9 else None
    monkeypatch.undo()
    for manifests in store.versions().values():
        for manifest in manifests:
            assert all(map(store.blobs.has, store.closure(manifest)))
    assert store.verify().clean
    store.gc(grace=0)
    assert [v.who for v in store.log("m")] == [moved(f).address, f.address]
    assert set(store.versions()) == {f.address[7:], moved(f).address[7:]}


def test_a_collector_takes_nothing_where_it_can_not_read_what_is_needed(store):
    store.put(f, ref="m")
    store.put(g)
    before = kept(store)
    hurt(store, store.find("m"))
    store.forget()
    with pytest.raises(lm.StoreError, match="is damaged"):
        store.gc(grace=0)
    (store.path / "refs" / "m").write_text("junk")
    with pytest.raises(lm.StoreError, match="is no ref: it holds 'junk'"):
        store.gc(grace=0)
    assert kept(store).keys() == before.keys()
    with pytest.raises(lm.SpecError, match="grace is a number of seconds from 0, got -1"):
        store.gc(grace=-1)


def test_a_ref_is_removed_and_its_versions_stay(store):
    store.put(f, ref="a/b")
    store.remove("a/b")
    assert store.refs() == {} and store.get(f.address).address == f.address
    assert json.loads((store.path / "index.json").read_text())["manifests"] == []
    store.put(f, ref="a")  # the folder is no more
    with pytest.raises(lm.MissingError, match="there is no 'b' in .*; its refs are a"):
        store.remove("b")


def test_what_is_removed_stays_removed_after_a_power_cut(store):
    store.put(f, ref="a/b")
    with watching(store.path) as cuts:
        store.remove("a/b")
        store.put(g)
        os.utime(store.path / "versions" / g.address[7:] / store.find(g.address)[7:], (0, 0))
        taken = store.gc(grace=60)
    assert taken.versions == 1
    gone = ("refs/a/b", f"versions/{g.address[7:]}")
    assert not [path for path in cuts[-1].sure if path.startswith(gone)]
    for cut in cuts:  # at no time is a version noted that lacks a blob
        noted = [p for p in cut.sure if p.startswith("versions/")]
        assert all(f"blobs/sha256/{p.rsplit('/')[-1]}" in cut.possible for p in noted), cut.after


def test_a_whole_store_is_clean(store):
    store.put(moved(f), ref="m")
    files = sum(p.stat().st_size for p in store.blobs.directory.iterdir())
    seen = []
    report = store.verify(progress=lambda done, total: seen.append((done, total)), deep=True)
    assert report == Report(len(kept(store)), files, 2, {}, {}, [], []) and report.clean
    assert seen[-1] == (files, files)
    half = store.verify(share=0.5, seed=1)
    assert half.checked == -(-len(kept(store)) // 2) and half == store.verify(share=0.5, seed=1)
    with pytest.raises(lm.SpecError, match="share is what part of the blobs is hashed"):
        store.verify(share=0)


def test_what_is_damaged_goes_to_quarantine_and_is_put_again(store):
    one, two = f >> g, moved(f >> g)
    store.put(two, ref="m")
    store.put(g, ref="other")
    (blob,) = tensors(store, one.address)
    bytes_ = hurt(store, blob)
    report = store.verify()
    assert report.bad == {blob: sorted({one.address})} and not report.clean
    assert (store.path / "quarantine" / blob[7:]).read_bytes() == bytes_
    assert store.get("other").address == g.address
    with pytest.raises(lm.MissingError) as error:
        store.get(one.address)
    assert str(error.value) == (
        f"blob {blob} was damaged: it is in quarantine/ of {store.path} now, and these need it: "
        f"{one.address}. Put one of them again, fetch it again, or restore it from a copy."
    )
    assert store.verify().missing == {blob: [one.address]}
    store.put(one)
    assert store.verify(deep=True).clean and store.get(one.address)(x).shape == (3, 2)


def test_manifests_and_configs_go_to_quarantine_too(store):
    one = moved(f)
    for pick in (lambda m: m, lambda m: store.manifest(m)["config"]["digest"]):
        store.put(one, ref="m")
        blob = pick(store.find("m"))
        hurt(store, blob)
        assert store.verify().bad == {blob: [one.address]}
        store.put(moved(dense(4, 8, 0, "f")))
        assert store.verify(deep=True).clean and store.get("m").address == one.address


def test_what_is_derived_is_made_again(store):
    store.put(moved(f), ref="m")
    store.put(g)
    index = (store.path / "index.json").read_bytes()
    noted = sorted(str(p.relative_to(store.path)) for p in store.path.glob("versions/*/*"))
    (store.path / "index.json").write_bytes(b"{")
    for path in noted:
        (store.path / path).unlink()
    wrong = store.path / "versions" / ("0" * 64) / store.find("m")[7:]
    wrong.parent.mkdir()
    wrong.touch()
    with pytest.raises(lm.StoreError, match="says that .* is sha256:0000.*, and it is"):
        store.get("0" * 64)
    report = store.verify()
    assert report.clean
    assert sorted(report.mended) == sorted(
        [*noted, "index.json", str(wrong.relative_to(store.path))]
    )
    assert (store.path / "index.json").read_bytes() == index
    assert store.get(g.address).address == g.address


def test_a_blob_is_hashed_while_the_model_is_in_use(store):
    store.put(f >> g, ref="m")
    blob, *_ = tensors(store, "m")
    good = lm.Store(store.path, verify="background")
    model = good.get("m")
    good.blobs.background.join()
    assert model(x).shape == (3, 2)
    hurt(store, blob)
    bad = lm.Store(store.path, verify="background")
    model = bad.get("m")
    bad.blobs.background.join()
    with pytest.raises(lm.StoreError, match=f"blob {blob} of .* is damaged"):
        model(x)
    with pytest.raises(lm.StoreError, match=f"blob {blob} of .* is damaged"):
        bad.get("m")
    bad.verify()
    bad.put(f >> g, ref="m")
    assert bad.get("m")(x).shape == (3, 2)


def test_usage(store):
    wide = lm.fine_tune_head(dense(4, 20000, 0, "wide"), dense(20000, 2, 1, "head"))
    store.put(moved(wide), ref="m")
    found = store.du()
    assert [(row.ref, row.who) for row in found.versions] == [
        ("m", moved(wide).address),
        (None, wide.address),
    ]
    files = {p.name: p.stat().st_size for p in store.blobs.directory.iterdir()}
    assert found.total == sum(files.values()) and found.unneeded == 0
    assert found.shared + sum(row.exclusive for row in found.versions) == found.total
    assert all(row.total == row.exclusive + found.shared for row in found.versions)
    assert found.shared > 4 * 20000 * 5 and 4 * 40000 < found.versions[0].exclusive < 4 * 45000
    store.remove("m")
    assert store.gc(grace=0).bytes == found.total and store.du() == ([], 0, 0, 0)


def test_the_commands(store, capsys):
    store.put(moved(f), ref="m")
    store.put(g, ref="other")
    where = ["--store", str(store.path)]

    def run(*arguments, code=0):
        assert cli.main([*arguments, *where]) == code
        return capsys.readouterr().out

    assert run("refs").split() == ["m", moved(f).address, "other", g.address]
    assert json.loads(run("refs", "--json")) == store.refs()
    lines = run("du").splitlines()
    assert len(lines) == 5 and len({len(line) for line in lines[:-1]}) == 1
    assert len(json.loads(run("du", "--json"))["versions"]) == 3
    assert run("rm", "other") == "other is no ref any more\n"
    assert "1 versions" in run("gc", "--grace", "0", "--dry-run")
    assert json.loads(run("gc", "--grace", "0", "--json"))["versions"] == 1
    assert run("verify", "--deep").endswith("clean\n")
    (blob,) = tensors(store, "m")
    hurt(store, blob)
    told = json.loads(run("verify", "--json", code=1))
    assert told["bad"] == {blob: [moved(f).address]} and told["clean"] is False
    assert run("verify", code=1).splitlines()[1].startswith(f"missing: {blob}")


def test_writers_readers_and_a_collector_at_once(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(f, ref="shared")
    done = campaign(store.path, seconds=5, writers=3)
    assert done["errors"] == []
    assert done["put"] > 0 and done["read"] > 0
    store.forget()
    for ref, put in done["acknowledged"].items():
        log = [version.who for version in store.log(ref)]
        assert log[: len(put)] == put[::-1], ref
    store.gc(grace=0)
    assert store.verify().clean and store.du().unneeded == 0
    assert {*store.refs()} == {"shared", *done["acknowledged"]}


def test_a_collector_waits_for_writers(store):
    import threading

    store.put(g)
    with store.writing():
        thread = threading.Thread(target=lambda: lm.Store(store.path).gc(grace=0))
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive() and store.get(g.address).address == g.address
    thread.join()
    assert kept(store) == {}
    jax.block_until_ready(x)
