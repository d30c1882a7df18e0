"""A store elsewhere is looked after as it is there, whatever was fetched; signatures travel."""

import hashlib
import sys

import jax
import numpy as np
import pytest
from parts import dense, rows
from wires import Fake, answer

import lamda as lm
from lamda import errors
from lamda.cli import main
from lamda.store.remote import open_remote
from lamda.store.remote.bucket import TIMEOUT
from lamda.store.remote.mirror import Mirror
from lamda.store.remote.objects import Objects

f = dense(4, 300, 0, "f")
x = rows(3, 4)


def moved(model, by=1.0):
    return lm.succ(model, jax.tree.map(lambda w: w + by, model.weights))


@pytest.fixture
def elsewhere(s3, tmp_path):
    """The same store, seen from another machine."""
    count = iter(range(99))
    return lambda: Mirror(s3, cache=tmp_path / f"machine{next(count)}")


@pytest.fixture
def keys(tmp_path):
    """Two pairs of keys."""
    for name in "ab":
        assert main(["keygen", str(tmp_path / name)]) == 0
    return tmp_path


@pytest.fixture
def two(s3):
    """Two versions there, and the blobs of their tensors."""
    store = lm.Store(s3)
    store.put(moved(f), ref="m")
    return store, [t["blob"] for s in store.record("m")["slots"] for t in s["tensors"]]


# --- verify ---


def test_what_is_there_is_verified(two, elsewhere):
    store, _ = two
    for mirror in (store, elsewhere()):
        report = mirror.verify(deep=True)
        assert report.clean and not report.mended
        assert (report.checked, report.versions) == (len(store.remote.bucket.list("blobs")), 2)
    assert elsewhere().verify(share=0.2, seed=1).checked < report.checked


def test_verifying_keeps_no_tensor(two, elsewhere):
    _, (blob, *_) = two
    mirror = elsewhere()
    assert mirror.verify().clean
    assert not mirror.blobs.has(blob)


@pytest.mark.parametrize("bad", [b"wrong", None, "same size"])
def test_what_is_wrong_there_is_told_and_sent_again_by_who_has_it(two, elsewhere, bad):
    store, (blob, *_) = two
    path = f"blobs/sha256/{blob[7:]}"
    if bad is None:
        store.remote.bucket.delete(path)
    else:
        size = store.remote.bucket.size(path)
        store.remote.bucket.write(path, bad if isinstance(bad, bytes) else bytes(size))
    report = elsewhere().verify()
    assert not report.clean
    assert (report.bad or report.missing) == {blob: [moved(f).address]}
    assert store.remote.bucket.size(path) is None
    assert bool(store.remote.bucket.list("quarantine")) is (bad is not None)
    with pytest.raises(lm.MissingError):
        elsewhere().get("m")
    mended = store.verify()  # who has it here
    assert mended.clean and mended.mended == [path]
    assert elsewhere().verify().clean
    np.testing.assert_array_equal(elsewhere().get("m")(x), moved(f)(x))


def test_what_is_derived_there_is_made_again(two, elsewhere):
    store, _ = two
    bucket = store.remote.bucket
    notes = sorted(entry["path"] for entry in bucket.list("versions"))
    for path in (*notes, "index.json"):
        bucket.delete(path)
    report = elsewhere().verify()
    assert report.clean and sorted(report.mended) == ["index.json", *notes]
    assert len(elsewhere().log(moved(f).address)) == 2


def test_a_ref_that_is_none_is_told_and_stops_nobody(two, elsewhere):
    store, _ = two
    store.remote.bucket.write("refs/odd", b"../../etc/passwd")
    (problem,) = elsewhere().verify().problems
    assert "refs/odd is no ref: it holds '../../etc/passwd'" in problem
    store.put(moved(moved(f)), ref="m")  # which derives the index
    assert store.head("m") is not None


def test_a_manifest_that_is_not_what_the_ref_names(two, tmp_path):
    """One that is whole in itself, as a version that somebody put in the place of another."""
    store, _ = two
    manifest = store.head("m")
    data = store.blobs.get(manifest)
    store.remote.bucket.write(f"blobs/sha256/{manifest[7:]}", data + b" ")
    here = lm.Store(tmp_path / "here")
    with pytest.raises(lm.StoreError, match=f"the manifest {manifest} has the digest"):
        here.pull(f"{store.remote.url}#m")
    assert here.refs() == {} and here.versions() == {}


def test_a_name_that_is_no_digest_is_told(two, elsewhere):
    store, _ = two
    store.remote.bucket.write("blobs/sha256/readme.txt", b"hello")
    (problem,) = elsewhere().verify().problems
    assert problem.startswith(f"{store.remote.url}/blobs/sha256/readme.txt is no blob")


# --- du and gc ---


def test_what_versions_need_there(two, elsewhere, tmp_path):
    store, _ = two
    here = lm.Store(tmp_path / "here")
    here.put(moved(f), ref="m")
    assert elsewhere().du() == store.du() == here.du()
    store.remote.bucket.write(f"blobs/sha256/{64 * '0'}", b"1234")
    assert elsewhere().du().unneeded == 4


def test_nothing_is_collected_there(two, capsys):
    store, _ = two
    url, before = store.remote.url, store.remote.bucket.list("blobs")
    with pytest.raises(lm.SpecError) as caught:
        store.gc(grace=0)
    assert str(caught.value) == errors.REMOTE_GC.format(url=url, cache=store.path)
    store.remove("m")
    assert main(["gc", "--store", url, "--grace", "0"]) == 1
    assert "nothing is collected there" in capsys.readouterr().err
    assert store.refs() == {} and len(store.remote.bucket.list("blobs")) == len(before)


# --- what is here is a copy ---


def test_what_is_damaged_here_is_fetched_again(two):
    store, (blob, *_) = two
    for digest in (blob, store.head("m")):
        path = store.blobs.path(digest)
        path.write_bytes(b"x" + path.read_bytes()[1:])
    again = lm.Store(store.remote.url)
    np.testing.assert_array_equal(again.get("m")(x), moved(f)(x))
    assert again.verify().clean


def test_what_was_not_sent_whole_is_no_version(s3, host, elsewhere, tmp_path, monkeypatch):
    """What is noted here is there: else a pull would name what is not."""
    here = lm.Store(tmp_path / "here")
    here.put(moved(f), ref="m")
    here.push(f"oci://{host}/mirrored", "m")
    commit = Objects.commit

    def breaks(*_):
        raise ConnectionError("the wire is cut")

    monkeypatch.setattr(Objects, "commit", breaks)
    with pytest.raises(ConnectionError):
        lm.Store(s3).pull(f"oci://{host}/mirrored:m")
    monkeypatch.setattr(Objects, "commit", commit)
    assert lm.Store(s3).pull(f"oci://{host}/mirrored:m") == moved(f).address
    assert elsewhere().verify(deep=True).clean


def test_a_ref_is_no_folder_of_others(two, tmp_path):
    store, _ = two
    here = lm.Store(tmp_path / "here")
    here.put(f, ref="m/n")
    with pytest.raises(lm.SpecError, match="'m/n' can not stand beside 'm'"):
        here.push(store.remote.url, "m/n")


# --- signatures ---


def test_signatures_travel_and_verify(s3, host, keys, tmp_path):
    """By a registry, then an object store, and home again: each of two people's."""
    here, there, back = (lm.Store(tmp_path / name) for name in ("here", "there", "back"))
    here.put(moved(f), ref="m")
    here.sign("m", keys / "a.key")
    here.push(f"oci://{host}/signed", "m")
    there.pull(f"oci://{host}/signed:m")
    said = there.signed("m", [keys / "a.pub"])
    assert said == here.signed("m", [keys / "a.pub"])
    with pytest.raises(lm.StoreError):
        there.signed("m", [keys / "b.pub"])
    there.sign("m", keys / "b.key")
    there.push(s3, "m")
    back.pull(f"{s3}#m")
    for key in ("a.pub", "b.pub"):
        assert back.signed("m", [keys / key])["predicate"] == said["predicate"]
    # Those of the other come home, and nothing is lost of what the registry has.
    there.push(f"oci://{host}/signed", "m")
    here.pull(f"oci://{host}/signed:m")
    assert here.signed("m", [keys / "b.pub"])["predicate"] == said["predicate"]
    assert here.verify().clean and back.verify().clean


def test_objects_keep_signatures(s3, keys, tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(f, ref="m")
    store.sign("m", keys / "a.key")
    version, remote = store.find("m"), Objects(s3)
    assert remote.attested(version) is None
    manifest = store.signatures.manifest(version)
    remote.attest(version, store.blobs.get(manifest))
    assert Objects(s3).attested(version) == store.blobs.get(manifest)
    assert remote.bucket.read(f"signatures/{version[7:]}") == manifest.encode()
    remote.bucket.write(f"signatures/{version[7:]}", b"../../etc/passwd")
    with pytest.raises(lm.StoreError, match="it holds '../../etc/passwd'"):
        remote.attested(version)


def test_signatures_of_another_tool_stay(host, keys, tmp_path, monkeypatch):
    """``cosign attest`` writes to the same tag; what it wrote is none of ours."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    store, url = lm.Store(tmp_path / "store"), f"oci://{host}/cosigned"
    store.put(f, ref="m")
    store.push(url, "m")
    remote, version = open_remote(url, tmp_path / "local"), store.find("m")
    theirs = store.blobs.get(version).replace(b'"annotations"', b'"notes"')
    remote.attest(version, theirs)
    assert lm.Store(tmp_path / "other").pull(f"{url}:m") == f.address
    store.sign("m", keys / "a.key")
    with pytest.raises(lm.StoreError) as caught:
        store.push(url, "m")
    assert str(caught.value) == errors.OTHER_SIGNATURES.format(url=url, version=version)
    assert remote.attested(version) == theirs


def test_a_signed_store_behind_plain_http_names_its_versions_alone(keys, tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(f, ref="m")
    store.sign("m", keys / "a.key")
    with Fake(store).running() as fake:
        index = (store.path / "index.json").read_bytes()
        fake.answers["/index.json"] = lambda h: answer(h, index)
        remote = Objects(f"http://{fake.host}")
        assert remote.names() == ["m"] and remote.versions() == store.versions()


# --- what people see ---


def test_a_bar_for_what_comes_and_goes(s3, elsewhere, monkeypatch, capsys):
    import tqdm

    def at_once(**options):
        return made(**(options | {"delay": 0}))

    made = tqdm.tqdm
    monkeypatch.setattr(tqdm, "tqdm", at_once)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    lm.Store(s3).put(f, ref="m")
    sent = capsys.readouterr().err
    assert "send " in sent and "100%" in sent and "B/s" in sent
    elsewhere().get("m")
    got = capsys.readouterr().err
    assert "fetch " in got and "100%" in got and "B/s" in got
    quiet = elsewhere()
    quiet.show = False
    quiet.get("m")
    assert capsys.readouterr().err == ""


def test_who_may_not_is_told(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(f, ref="m")
    with Fake(store).running() as fake:
        fake.answers["/refs/"] = lambda h: answer(h, b"", 403)
        remote = Objects(f"http://{fake.host}")
        with pytest.raises(lm.StoreError, match="Who asks may not do that"):
            remote.ref("m")


def test_a_url_holds_no_password():
    with pytest.raises(lm.SpecError) as caught:
        Objects("https://ada:secret@host.example/prefix")
    assert str(caught.value) == errors.URL_SECRET.format(host="host.example")


def test_a_part_has_the_time_that_a_slow_wire_needs(s3):
    assert Objects(s3).bucket.objects.client_options == TIMEOUT | {"allow_http": "true"}


def test_a_successor_sends_what_changed(s3, monkeypatch):
    wide = lm.fine_tune_head(dense(4, 30_000, 0, "wide"), dense(30_000, 2, 1, "head"))
    store, sent = lm.Store(s3), []
    store.put(wide, ref="m")
    bucket = type(store.remote.bucket)
    write = bucket.write
    monkeypatch.setattr(bucket, "write", lambda s, p, d: (sent.append(len(d)), write(s, p, d))[1])
    store.put(moved(wide), ref="m")
    changed = 4 * (2 + 30_000 * 2)
    assert changed < sum(sent) < changed + 40_000


def test_what_came_is_what_is_named(s3, tmp_path):
    """A blob there under the name of another is refused, and its bytes are kept nowhere."""
    store = lm.Store(tmp_path / "store")
    with pytest.raises(lm.StoreError, match="nothing was kept"):
        Objects(s3).put(f"sha256:{hashlib.sha256(b'a').hexdigest()}", 1, [b"b"])
    assert not [*store.blobs.directory.iterdir()]
