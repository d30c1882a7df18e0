"""Keeping: what is put comes back, as the same bytes in any process, and survives a power cut."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from hypothesis import strategies as st

import lamda as lm
from lamda.model import Model
from lamda.tensor import Weights
from lamda.testing import process
from lamda.testing.crash import Cut, Tree, restore, watching
from lamda.testing.draw import Draw
from lamda.testing.folder import difference, emptied, files, folder
from lamda.testing.law import Suite, law
from lamda.testing.level import Level
from lamda.testing.source import source


@law("get(put(m)) = m", Level.ADDRESS)
def what_is_put_comes_back(draw: Draw) -> Any:
    f = draw.model()
    with emptied() as store:
        return reread(store.get(store.put(f))), f


@law("get(put(m)) has the names, ties, freezing and bits of m", Level.ADDRESS)
def parts_come_back(draw: Draw) -> Any:
    f = _weighted(draw.model())
    f = draw(st.sampled_from((f, lm.freeze(f), f & lm.freeze(f))), "model")
    with emptied() as store:
        back = reread(store.get(store.put(f)))
    parts_come_back.require(_parts(back) == _parts(f), f"{_parts(back)} is not {_parts(f)}")
    return back, f


@law("pred(get(put(succ(m, w)))) = m", Level.ADDRESS)
def the_version_before_comes_back(draw: Draw) -> Any:
    f = _weighted(draw.model())
    after = lm.succ(f, draw.weights(f))
    with emptied() as store:
        back = lm.pred(store.get(store.put(after)))
        the_version_before_comes_back.require(back is not None, "It has no version before it.")
        return reread(back), f


@law("the same model is the same bytes: put twice, and in two stores", Level.VALUE)
def the_same_model_is_the_same_bytes(draw: Draw) -> Any:
    f = draw.model()
    with emptied() as one, emptied() as other:
        one.put(f, ref="m")
        first = files(one.path)
        one.put(f, ref="m")
        other.put(f, ref="m")
        again = difference(first, files(one.path))
        apart = difference(first, files(other.path))
    law = the_same_model_is_the_same_bytes
    law.require(not again, f"Put again, these files have changed: {again}.")
    law.require(not apart, f"In another store, these files differ: {apart}.")


@law("the same model is the same bytes, in any process", Level.VALUE)
def any_process_writes_the_same_bytes(draw: Draw) -> Any:
    f = draw.model()
    with emptied() as here, emptied() as there:
        address = here.put(f)
        (other,) = process.put([source(f)], str(there.path))
        apart = difference(files(here.path), files(there.path))
    law = any_process_writes_the_same_bytes
    law.require(address == other, f"There it is {other}, and here {address}.")
    law.require(not apart, f"Written by another process, these files differ: {apart}.")


@law("put(m) leaves m as it was", Level.TERM)
def putting_changes_nothing(draw: Draw) -> Any:
    f = draw.model()
    before = f.term, dict(f.environment), f.before, f.receipt, _parts(f)
    with emptied() as store:
        store.put(f, ref="m")
    after = f.term, dict(f.environment), f.before, f.receipt, _parts(f)
    putting_changes_nothing.require(before == after, f"{before} has become {after}.")


@law("what put has acknowledged survives a power cut", Level.ADDRESS)
def what_is_acknowledged_survives(draw: Draw) -> Any:
    f = draw.model()
    with folder() as root, folder() as copy:
        with watching(root) as cuts:
            lm.Store(root / "store").put(f, ref="team/m")
        last = cuts[-1]
        lost = [p for p in _kept(last.possible) if last.sure.get(p) is None]
        what_is_acknowledged_survives.require(not lost, f"A power cut may lose {lost}.")
        store = lm.Store.open(restore(last.sure, copy) / "store")
        return reread(store.get("team/m")), f


@law(
    "wherever the power is cut: all that is pointed at is there, and so is what was", Level.ADDRESS
)
def a_power_cut_breaks_nothing(draw: Draw) -> Any:
    f = _weighted(draw.model())
    after = lm.succ(f, draw.weights(f))
    law = a_power_cut_breaks_nothing
    with folder() as root:
        store = lm.Store(root / "store")
        for model in (f, after):
            kept = _kept(files(root))
            with watching(root) as cuts:
                store.put(model, ref="m")
            for cut in cuts:
                dangling = list(_dangling(cut))
                law.require(not dangling, f"After {cut.after}: {dangling[:3]}")
                gone = [p for p in kept if cut.sure.get(p) is None]
                law.require(not gone, f"After {cut.after} a power cut may lose {gone[:3]}.")


STORAGE = Suite(
    "storage",
    (
        what_is_put_comes_back,
        parts_come_back,
        the_version_before_comes_back,
        the_same_model_is_the_same_bytes,
        any_process_writes_the_same_bytes,
        putting_changes_nothing,
        what_is_acknowledged_survives,
        a_power_cut_breaks_nothing,
    ),
)


def reread(model: Model | None) -> Model:
    """A stored model with all that it reads read, and its address found anew from that."""
    assert model is not None
    bound = {slot: Weights.of(weights.arrays) for slot, weights in model.environment.items()}
    new = model.derive(model.term, bound)
    assert new.address
    return new


def _weighted(model: Model) -> Model:
    """The model, with a weight beside it where it has none that is trained."""
    trained = any(trained for _, _, trained in model.tensors())
    return model if trained else model & lm.lift(_weight, jnp.float32(1))


def _weight(weight: Any, _: Any) -> Any:
    return weight


def _parts(model: Model) -> list[Any]:
    """Every variable: the path of its weights, whom it is tied to, its freezing, its tensors."""
    ties = {t: i for i, t in enumerate(dict.fromkeys(slot.token for slot in model.slots))}
    return [
        ("/".join((*path, *leaf)), ties[slot.token], slot.frozen, tensor.digest)
        for slot, path in model.slots.items()
        for leaf, tensor in model.environment[slot].items()
    ]


def _kept(tree: Any) -> list[str]:
    """The files of a store, without those that it writes on the way, or for this machine."""
    return [path for path in tree if not any(s.startswith(".") for s in path.split("/"))]


def _dangling(cut: Cut) -> Iterator[str]:
    """What of a store, that a cut may leave, points at something that it may lose."""
    for tree in (cut.possible, cut.sure):
        for path in _kept(tree):
            data = tree[path]
            if data is None:
                yield f"the bytes of {path} may be lost"
                continue
            for target in _targets(path.partition("/")[2], data, cut.sure):
                if cut.sure.get(f"store/{target}") is None:
                    yield f"{path} is there, and {target} may be lost"


def _targets(path: str, data: bytes, sure: Tree) -> Iterator[str]:
    """The files that a file of a store points at."""
    room, _, name = path.partition("/")
    if room == "refs":
        yield from _blobs([data.decode()], sure)
    if room == "versions":
        yield from _blobs([name.partition("/")[2]], sure)
    if room == "blobs" and not name.endswith(hashlib.sha256(data).hexdigest()):
        yield f"{path} with its own bytes"
    if room == "index.json":
        yield from _blobs([m["digest"] for m in json.loads(data)["manifests"]], sure)


def _blobs(manifests: list[str], sure: Tree) -> Iterator[str]:
    for digest in manifests:
        path = f"blobs/sha256/{digest.removeprefix('sha256:')}"
        yield path
        manifest = json.loads(sure.get(f"store/{path}") or b'{"config": {}, "layers": []}')
        for blob in (manifest["config"], *manifest["layers"]):
            if blob:
                yield f"blobs/sha256/{blob['digest'].removeprefix('sha256:')}"
