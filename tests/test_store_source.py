"""Source: what trusts it gets every transformation, and nothing else ever unpickles."""

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parts import dense, rows

import lamda as lm
import serve
from lamda import sign
from lamda.store import media

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
x = rows(3, 4)
KEY = jax.random.key(3)


def dropped(share):
    def dropout(x, key=None):
        if key is None:
            return x
        return jnp.where(jax.random.bernoulli(key, share, x.shape), x, jnp.zeros_like(x))

    return dropout


@pytest.fixture
def store(tmp_path):
    return lm.Store(tmp_path / "store")


def trusting(store, ref="m"):
    with pytest.warns(UserWarning, match="whoever wrote it can do here what you can do"):
        return store.get(ref, trust_source=True)


# --- what it is for ---


def test_every_transformation_works_with_source(store):
    model = f >> lm.lift(lambda w, x: jnp.tanh(x) * w, jnp.float32(2), name="t") >> g
    store.put(model, ref="m", source=True)
    back = trusting(store)
    assert back.address == model.address and repr(back) == repr(model)

    def loss(m):
        return (m(x) ** 2).sum()

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # noqa: E731
    close(back(x), model(x))
    jax.tree.map(close, jax.grad(loss)(back).weights, jax.grad(loss)(model).weights)
    jax.tree.map(close, jax.jvp(back, (x,), (x,)), jax.jvp(model, (x,), (x,)))
    stacked = jnp.stack([x, x + 1])
    close(jax.vmap(back)(stacked), jax.vmap(model)(stacked))
    close(jax.hessian(lambda x: back(x).sum())(x), jax.hessian(lambda x: model(x).sum())(x))


def test_random_parts_keep_their_masks_with_source(store):
    one, two = (lm.lift(dropped(share), name="drop") for share in (0.5, 0.9))
    model = f >> lm.branch(one, two, lm.lift(lambda x: x, name="drop")) >> lm.pick(0) >> one >> g
    store.put(model, ref="m", source=True)
    wide = f >> lm.branch(one, two, lm.lift(lambda x: x, name="drop"))
    store.put(wide, ref="wide", source=True)
    back = trusting(store)
    np.testing.assert_allclose(back(x, KEY), model(x, KEY), rtol=1e-5)
    for a, b in zip(trusting(store, "wide")(x, KEY), wide(x, KEY), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    store.put(back, ref="again", source=True)
    np.testing.assert_allclose(trusting(store, "again")(x, KEY), model(x, KEY), rtol=1e-5)


def test_a_random_part_without_its_source_says_so_where_a_key_is_given(store):
    model = f >> lm.lift(dropped(0.5), name="drop") >> g
    store.put(model, ref="m")
    back = store.get("m")
    np.testing.assert_allclose(back(x), model(x), rtol=1e-5)
    with pytest.raises(lm.SpecError) as caught:
        back(x, KEY)
    assert str(caught.value) == (
        "drop draws with a key, and what is stored of it is its reading without one. Call it "
        "without a key, or put it with source=True and get it with trust_source=True."
    )


# --- who asked ---


def test_who_asked_is_noted(store):
    import pwd

    store.put(f, ref="m", source=True)
    trusting(store)
    (line,) = (store.path / "trusted.log").read_text().splitlines()
    entry = json.loads(line)
    assert set(entry) == {"at", "who", "host", "process", "program", "where", "address"}
    assert entry["who"] == pwd.getpwuid(os.getuid()).pw_name
    assert entry["where"].startswith(f"{__file__}:") and entry["process"] == os.getpid()
    trusting(store)
    assert len((store.path / "trusted.log").read_text().splitlines()) == 2


def test_where_there_is_no_source_nobody_is_warned(store):
    store.put(f, ref="m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.get("m", trust_source=True).address == f.address
    assert not (store.path / "trusted.log").exists()


def test_what_can_not_be_noted_is_not_run(store, tmp_path):
    mark = tmp_path / "ran"
    _with_source(store, bomb(mark))
    (store.path / "trusted.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(lm.StoreError) as caught:
        store.get("m", trust_source=True)
    assert str(caught.value) == (
        f"who trusts the source that {store.path} keeps is noted in its trusted.log, which can "
        "not be written: Too many levels of symbolic links. Make it writable, or copy the store."
    )
    assert not mark.exists() and not (tmp_path / "elsewhere").exists()


# --- bombs ---


class _Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def bomb(mark):
    """A pickle that makes a directory where it is read."""
    return pickle.dumps(_Bomb(mark))


def _with_source(store, data):
    """A version whose source is these bytes, all digests right."""
    model = lm.lift(lambda w, x: jnp.tanh(x) * w, jnp.float32(2), input="float32[b]", name="t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lamda.store.writing.pickled", lambda _: data)
        store.put(model, ref="m", source=True)


def every_use(store, folder, key):
    """All that is done with a store, but trusting its source."""
    yield lambda: store.get("m")(jnp.ones(2))
    yield lambda: store.log("m")
    yield lambda: store.verify(deep=True)
    yield lambda: store.diff("m", "other")
    yield store.du
    yield store.refs
    yield lambda: store.sign("m", f"{key}.key")
    yield lambda: store.signed("m", f"{key}.pub")
    yield lambda: lm.bundle(store.get("m"), folder / "out", b=2)
    yield lambda: serve.load(folder / "out")(b"[1, 2]")
    yield lambda: lm.Store(folder / "copy").put(store.get("m"), ref="m")
    if hasattr(store, "push"):
        yield lambda: store.push((folder / "remote").as_uri(), "m")
        yield lambda: lm.Store(folder / "pulled").pull((folder / "remote").as_uri(), "m")
    yield lambda: store.gc(grace=0)


@pytest.mark.filterwarnings("ignore:.*does not compare before it moves a ref:UserWarning")
def test_a_bomb_as_source_goes_off_for_nobody_who_does_not_trust(store, tmp_path):
    mark = tmp_path / "ran"
    sign.keygen(tmp_path / "k")
    store.put(f, ref="other")
    _with_source(store, bomb(mark))
    for use in every_use(store, tmp_path, tmp_path / "k"):
        use()
    assert not mark.exists()
    with (
        pytest.warns(UserWarning, match="whoever wrote it"),
        pytest.raises(lm.StoreError, match="the source that is kept does not load"),
    ):
        store.get("m", trust_source=True)
    assert mark.exists()  # and this can not be prevented: reading source is running it
    assert len((store.path / "trusted.log").read_text().splitlines()) == 1


@pytest.mark.filterwarnings("ignore:.*does not compare before it moves a ref:UserWarning")
def test_a_bomb_in_every_blob_goes_off_for_nobody(tmp_path):
    """Each blob in turn is a bomb: as it is, and with every digest that leads to it made right."""
    mark, key = tmp_path / "ran", tmp_path / "k"
    sign.keygen(key)
    made = lm.Store(tmp_path / "made")
    model = lm.lift(lambda w, x: jnp.tanh(x) * w, jnp.float32(2), input="float32[b]", name="t")
    made.put(model, ref="m")
    made.put(f, ref="other")
    for digest in made.closure(made.find("m")):
        for right in (False, True):
            folder = tmp_path / f"{digest[7:15]}-{right}"
            store = _exploding(made, folder, digest, bomb(mark), right)
            for use in every_use(store, folder, key):
                try:
                    use()
                except (lm.LamdaError, serve.ServeError, OSError):
                    continue
    assert not mark.exists()


def _exploding(made, folder, digest, data, right):
    """A copy of a store where a blob is other bytes; ``right``: under their own digest."""
    shutil.copytree(made.path, folder)
    blobs = folder / "blobs" / "sha256"
    if not right:
        path = blobs / digest[7:]
        path.chmod(0o644)
        path.write_bytes(data)
        return lm.Store(folder)
    version = made.find("m")
    config = made.manifest(version)["layers"][0]["digest"]
    new = _kept(blobs, data)
    if digest not in (version, config):
        record = made.blobs.get(config).replace(digest.encode(), new.encode())
        text = json.dumps(made.manifest(version)).replace(digest, new)
        digest, new = config, _kept(blobs, record)
    else:
        text = json.dumps(made.manifest(version))
    if digest != version:
        manifest = json.loads(text.replace(digest, new))
        for entry in [manifest["config"], *manifest["layers"]]:
            entry["size"] = (blobs / entry["digest"][7:]).stat().st_size
        new = _kept(blobs, media.canonical(manifest))
    (folder / "refs" / "m").write_text(new)
    note = folder / "versions" / made.resolve("m")[7:]
    (note / version[7:]).rename(note / new[7:])
    return lm.Store(folder)


def _kept(blobs, data):
    name = hashlib.sha256(data).hexdigest()
    (blobs / name).write_bytes(data)
    return f"sha256:{name}"


def test_source_that_loads_as_something_else_is_refused(store, tmp_path):
    import cloudpickle

    for i, value in enumerate((len, (1, 2), (len, 3), None)):
        other = lm.Store(tmp_path / str(i))
        _with_source(other, cloudpickle.dumps(value))
        with (
            pytest.warns(UserWarning, match="whoever wrote it"),
            pytest.raises(lm.StoreError, match="the source that is kept does not load: TypeError"),
        ):
            other.get("m", trust_source=True)
        assert other.get("m")(jnp.ones(2)).shape == (2,)


def test_changed_source_is_refused_before_it_runs(store, tmp_path):
    mark = tmp_path / "ran"
    store.put(lm.lift(lambda x: x + 1, input="float32[b]"), ref="m", source=True)
    (digest,) = {fn["source"] for fn in store.record("m")["functions"]}
    path = store.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(bomb(mark))
    with (
        pytest.warns(UserWarning, match="whoever wrote it"),
        pytest.raises(lm.StoreError, match="is damaged"),
    ):
        lm.Store(store.path).get("m", trust_source=True)
    assert not mark.exists()


def test_source_is_read_where_its_program_was_run_before(store):
    store.put(f, ref="m", source=True)
    x = jnp.ones((3, 4))
    store.get("m")(x)
    with pytest.warns(UserWarning, match="whoever wrote it"):
        back = store.get("m", trust_source=True)
    jax.jvp(back, (x,), (x,))  # a program has no forward derivative
    assert (back >> g).address == (store.get("m") >> g).address == (f >> g).address


def test_one_place_alone_reads_pickles():
    root = Path(lm.__file__).parents[1]
    unpickles = re.compile(
        r"\bpickle\.load|\bloads\(|Unpickler|load\(.*allow_pickle|\bmarshal\b|shelve"
    )
    found = {
        f"{file.relative_to(root)}: {line.strip()}"
        for folder in ("lamda", "serve", "lamda_hooks")
        for file in (root / folder).rglob("*.py")
        for line in file.read_text().splitlines()
        if unpickles.search(re.sub(r"\b(json|tomllib)\.loads\(", "", line))
    }
    assert found == {"lamda/store/source.py: found = Python(*cloudpickle.loads(data))"}


def test_reading_a_store_imports_no_cloudpickle_of_ours(store):
    store.put(f >> g, ref="m", source=True)
    code = (
        "import sys, pickle, jax.numpy as jnp, lamda as lm\n"
        "import cloudpickle\n"
        "def never(*_, **__): raise SystemExit('unpickled')\n"
        "pickle.loads = pickle.load = pickle.Unpickler = never\n"
        "cloudpickle.loads = cloudpickle.load = never\n"
        "store = lm.Store.open(sys.argv[1])\n"
        "print(store.get('m')(jnp.ones((1, 4))).shape, len(store.log('m')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], check=True,
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout == "(1, 2) 1\n"
