"""How a version is written: several blobs at once, each flushed before it has its name."""

import errno
import gc
import os
import stat
import threading

import jax.numpy as jnp
import numpy as np
import pytest

import lamda as lm
from lamda.store import writing
from lamda.store.packs import PACK, SMALL


def rows(weights, x):
    return x


def model(count: int, nbytes: int) -> lm.Model:
    """A model with so many tensors of so many bytes, all of them different."""
    made = np.arange(count * nbytes // 4, dtype=np.float32).reshape(count, -1)
    weights = {f"t{i}": jnp.asarray(row) for i, row in enumerate(made)}
    return lm.lift(rows, weights, input="float32[b]", name="many")


TWO_PACKS = 2 * PACK // (SMALL // 2), SMALL // 2
TWO_LARGE = 2, 2 * SMALL


@pytest.mark.parametrize("kind", [TWO_PACKS, TWO_LARGE], ids=["packs", "large"])
def test_blobs_are_flushed_at_once(tmp_path, monkeypatch, kind):
    real, both = os.fsync, threading.Barrier(2, timeout=60)

    def fsync(descriptor):
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size > SMALL:
            both.wait()  # breaks where the second waits for the first
        real(descriptor)

    kept = model(*kind)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(os, "fsync", fsync)
    store = lm.Store(tmp_path / "store")
    store.put(kept, ref="m")
    assert store.get("m").address == kept.address and store.verify().clean


@pytest.mark.parametrize("kind", [TWO_PACKS, TWO_LARGE], ids=["packs", "large"])
def test_no_blob_has_its_name_before_it_is_flushed(tmp_path, monkeypatch, kind):
    fsync, replace, flushed, early = os.fsync, os.replace, set(), []

    def noted(descriptor):
        fsync(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    def named(source, target):
        if os.stat(source).st_ino not in flushed:
            early.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", named)
    lm.Store(tmp_path / "store").put(model(*kind), ref="m")
    assert flushed and not early


@pytest.mark.parametrize("kind", [TWO_PACKS, TWO_LARGE], ids=["packs", "large"])
def test_where_one_of_several_blobs_fails_nothing_is_named(tmp_path, monkeypatch, kind):
    real, large = os.fsync, []

    def fsync(descriptor):
        if os.fstat(descriptor).st_size > SMALL:
            large.append(descriptor)
            if len(large) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    store, kept = lm.Store(tmp_path / "store"), model(*kind)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(lm.DiskError, match="No space left"):
            store.put(kept, ref="m")
    assert not store.refs() and not list(store.path.rglob("*.tmp"))
    store.put(kept, ref="m")
    assert lm.Store(store.path).get("m").address == kept.address and store.verify().clean


def test_nothing_is_collected_while_a_version_is_written(tmp_path):
    kept, store, begun = model(3_000, 4), lm.Store(tmp_path / "store"), []

    def note(phase, _):
        if phase == "start":
            begun.append(phase)

    gc.callbacks.append(note)
    try:
        writing.write(kept, store.blobs, {})
        found = len(begun)
    finally:
        gc.callbacks.remove(note)
    assert gc.isenabled()
    assert found <= 1  # what waited, at the end


def test_what_is_here_is_not_written_again(tmp_path, monkeypatch):
    store, real, made = lm.Store(tmp_path / "store"), os.open, []
    store.put(model(*TWO_PACKS))

    def note(path, *rest, **options):
        made.extend([path] if str(path).endswith(".tmp") else [])
        return real(path, *rest, **options)

    again = lm.Store(store.path)
    monkeypatch.setattr(os, "open", note)
    again.put(model(*TWO_PACKS))
    assert not made
