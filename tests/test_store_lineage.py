"""Lineage in a store: a ref moves from the version before alone, and no version is lost by it."""

import shutil

import jax
import pytest
from parts import dense, rows
from store_faults import hurt, moved

import lamda as lm
from lamda import sign
from lamda.store.lineage import ancestors, together

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
x = rows(3, 4)


@pytest.fixture
def store(tmp_path):
    return lm.Store(tmp_path / "store")


def lineage(store, ref: str) -> list[str]:
    return [*ancestors(store, store.find(ref))]


def again(model) -> lm.Model:
    """The same model, made anew, and without what was before it."""
    return dense(4, 8, 0, "f").replace_weights(model.weights)


def test_a_ref_moves_from_the_version_that_it_names_and_not_from_another_of_its_address(store):
    model = f >> g
    store.put(lm.succ(model, lm.freeze(model)), ref="m")
    before = lineage(store, "m")
    assert len(before) == 2 and store.resolve("m") == model.address
    told = f"its predecessor is {model.address}, but another version of it.. Put lm.succ"
    with pytest.raises(lm.SuccessionError, match=told):
        store.put(moved(model), ref="m")
    assert lineage(store, "m") == before
    new = lm.succ(store.get("m"), moved(model))
    store.put(new, ref="m")
    assert lineage(store, "m")[1:] == before


def test_what_is_made_anew_follows_the_version_that_it_is(store):
    two = moved(moved(f))
    store.put(two, ref="m")
    before = lineage(store, "m")
    new = moved(again(two))
    store.put(new, ref="m")
    assert lineage(store, "m")[1:] == before and len(before) == 3
    assert store.gc(grace=0) == (0, 0, 0)
    assert lm.pred(lm.pred(store.get("m"))).address == moved(f).address


def test_what_comes_after_another_version_of_the_same_address_is_refused(store):
    two = moved(moved(f))
    store.put(two, ref="m")
    before, files = lineage(store, "m"), len([*store.blobs.directory.iterdir()])
    other = lm.succ(dense(4, 8, 7, "f"), two.weights)  # the same function, from elsewhere
    assert other.address == two.address
    with pytest.raises(lm.SuccessionError, match="is not its successor"):
        store.put(moved(other), ref="m")
    assert lineage(store, "m") == before
    assert len([*store.blobs.directory.iterdir()]) == files


def test_a_successor_without_source_follows_the_version_with_source(store):
    store.put(moved(f), ref="m", source=True)
    before = lineage(store, "m")
    store.put(moved(store.get("m")), ref="m")
    assert lineage(store, "m")[1:] == before
    store.gc(grace=0)
    with pytest.warns(UserWarning, match="whoever wrote it"):
        lm.pred(store.get("m", trust_source=True))


def test_source_is_added_to_what_was_kept_without(store):
    store.put(moved(f), ref="m")
    before = lineage(store, "m")
    assert store.put(moved(f), ref="m", source=True) == moved(f).address
    assert lineage(store, "m")[1:] == before
    with pytest.warns(UserWarning, match="whoever wrote it"):
        back = store.get("m", trust_source=True)
    jax.jvp(back, (x,), (x,))
    kept, files = lineage(store, "m"), len([*store.blobs.directory.iterdir()])
    store.put(moved(f), ref="m", source=True)
    store.put(moved(f), ref="m")
    assert lineage(store, "m") == kept and len([*store.blobs.directory.iterdir()]) == files


def test_a_put_heals_the_ref_whose_manifest_is_in_quarantine(store):
    new = moved(f)
    store.put(new, ref="m")
    head = store.find("m")
    hurt(store, head)
    assert [*store.verify().bad] == [head]
    fresh = lm.Store(store.path)
    with pytest.raises(lm.MissingError, match="in quarantine/ of .* Put one of them again"):
        fresh.put(dense(4, 8, 5, "other"), ref="m")
    fresh.put(moved(f), ref="m")
    assert fresh.find("m") == head and fresh.verify(deep=True).clean
    hurt(fresh, head)
    fresh.verify()
    fresh.put(moved(new), ref="m")  # or with a successor that knows what was before
    assert lineage(fresh, "m")[1] == head and fresh.verify(deep=True).clean


def test_what_is_read_where_a_version_before_is_in_quarantine(store):
    one, two = moved(f), moved(moved(f))
    store.put(two, ref="m")
    lost = lineage(store, "m")[1]
    hurt(store, lost)
    report = store.verify()
    assert report.bad == {lost: [one.address]} and report.versions == 3
    fresh = lm.Store(store.path)
    assert fresh.verify().missing == {lost: [one.address]}
    assert fresh.get("m")(x).shape == (3, 8)
    quarantined = f"blob {lost} was damaged: it is in quarantine/ of .*, and these need it: "
    for read in (
        lambda: fresh.log("m"),
        lambda: lm.pred(fresh.get("m")),
        fresh.du,
        lambda: fresh.gc(grace=0),
    ):
        with pytest.raises(lm.MissingError, match=quarantined):
            read()
    assert fresh.put(one) == one.address  # which is the way out that is told
    assert len(fresh.log("m")) == 3 and fresh.du() and fresh.gc(grace=0) == (0, 0, 0)
    assert fresh.verify(deep=True).clean


def test_what_no_ref_needs_blocks_no_collector_after_its_time(store):
    store.put(f, ref="m")
    store.put(g)
    hurt(store, store.find(g.address))
    store.verify()
    fresh = lm.Store(store.path)
    with pytest.raises(lm.MissingError, match="in quarantine/"):
        fresh.gc(grace=60)
    assert fresh.gc(grace=0).versions == 1
    assert fresh.verify().clean and [*fresh.versions()] == [f.address[7:]]


def test_a_put_needs_no_signature_of_the_version_before(store, tmp_path):
    sign.keygen(tmp_path / "key")
    store.put(f, ref="m")
    store.sign("m", tmp_path / "key.key")
    head = store.find("m")
    for blob in store.signatures.closure(head):
        store.blobs.path(blob).unlink()
    fresh = lm.Store(store.path)
    fresh.put(moved(fresh.get("m")), ref="m")
    assert lineage(fresh, "m")[1] == head
    report = fresh.verify()
    assert [*report.missing.values()] == [[f.address]]


def test_a_store_that_was_copied_goes_on(store, tmp_path):
    store.put(moved(f), ref="m")
    shutil.copytree(store.path, tmp_path / "copy", ignore=lambda *_: [".local", "versions"])
    copy = lm.Store(tmp_path / "copy")
    copy.put(moved(store.get("m")), ref="m")
    assert lineage(copy, "m")[1:] == lineage(store, "m")
    assert copy.verify(deep=True).clean


def test_lineages_are_walked_together_once(store):
    one = moved(f)
    store.put(moved(one), ref="a")
    store.put(lm.succ(one, jax.tree.map(lambda w: w * 3, one.weights)), ref="b")
    heads = [*store.heads().values()]
    walked = [*together(store, heads)]
    assert len(walked) == len({*walked}) == 4
    assert {*walked} == {*lineage(store, "a"), *lineage(store, "b")}
