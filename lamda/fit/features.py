"""Features: what the frozen part gives for every example, computed once and kept.

They have an address, that of the frozen part and of the inputs, so that the next head on the same
encoder finds them: in this process, or, where they took long to compute, in the cache of this
machine.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import address, errors, evaluate
from lamda.fit import progress, saved
from lamda.fit.examples import Examples, nbytes, tree_address
from lamda.normal import Graph
from lamda.tensor import Weights
from lamda.term import Slot
from serve.runtime import cache

CHUNK = 32
"""Examples at a time while the frozen part runs over the data."""
SLOW = 1.0
"""Seconds after which features are worth a file."""
ROOM = 1 << 30
"""Bytes of features that a process keeps, and eight times that of files on the machine."""

_kept: "OrderedDict[str, Any]" = OrderedDict()


def features(front: Graph, fixed: Mapping[Slot, Weights], examples: Examples, shown: bool) -> Any:
    """What the frozen part gives for every example: the inputs, where there is none."""
    if not front.nodes:
        return evaluate.run(front, [], examples.inputs)
    where = _address(front, fixed, examples.inputs)
    found = _kept.get(where)
    if found is None:
        weights = loaded(front, fixed)
        found = _read(where, jax.eval_shape(partial(run, front), weights, examples.inputs))
        if found is None:
            began = time.perf_counter()
            found = _computed(partial(run, front, weights), examples, shown)
            if time.perf_counter() - began > SLOW:
                _write(where, found)
    _keep(where, found)
    return found


@partial(jax.jit, static_argnums=0)
def run(front: Graph, weights: list[Any], inputs: Any) -> Any:
    """What the frozen part gives for some examples; one that is equal is compiled already."""
    return evaluate.run(front, weights, inputs)


def loaded(front: Graph, fixed: Mapping[Slot, Weights]) -> list[Any]:
    """The weights of the frozen part, as arrays; what is lazy is loaded now, outside of a trace."""
    return [fixed[slot].arrays if slot in fixed else None for slot in front.slots]


def forget() -> None:
    """Keep none in this process."""
    _kept.clear()


def _address(front: Graph, fixed: Mapping[Slot, Weights], inputs: Any) -> str:
    none = Weights.of(())
    bound = [fixed.get(slot, none) for slot in front.slots]
    part = address.address(front, lambda i: bound[i].type, lambda i: bound[i].digests)
    return address.sha256(["features", part, tree_address(inputs), jax.default_backend()])


def _computed(run: Callable[[Any], Any], examples: Examples, shown: bool) -> Any:
    """In chunks of one size, so that it compiles once."""
    size = min(CHUNK, examples.count)
    parts = []
    starts = range(0, examples.count, size)
    for start in progress.each(starts, "frozen part", shown, len(starts)):
        rows = np.minimum(np.arange(start, start + size), examples.count - 1)
        parts.append(run(jax.tree.map(lambda a: a[rows], examples.inputs)))  # noqa: B023
    return jax.tree.map(lambda *chunks: jnp.concatenate(chunks)[: examples.count], *parts)


def _keep(where: str, found: Any) -> None:
    """The latest ones, as many as there is room for."""
    _kept[where] = found
    _kept.move_to_end(where)
    while len(_kept) > 1 and sum(map(nbytes, _kept.values())) > ROOM:
        _kept.popitem(last=False)


# On the machine


def _folder() -> Path:
    return Path(cache.directory(), "features")


def _path(where: str) -> Path:
    return _folder() / f"{where.removeprefix('sha256:')}.safetensors"


def _read(where: str, like: Any) -> Any:
    path = _path(where)
    if not path.exists() or cache.refusal():
        return None
    try:
        found, note = saved.read(path, like)
        if note != {"features": where, "digest": saved.digest(found)}:
            return None
        os.utime(path)
    except (errors.StoreError, OSError):
        return None  # it is computed again
    return jax.tree.map(jnp.asarray, found)


def _write(where: str, found: Any) -> None:
    """Keep features in a file; the oldest make room. A disk that is full keeps none."""
    path = _path(where)
    if cache.refusal() or nbytes(found) > 8 * ROOM:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = sorted(path.parent.glob("*.safetensors"), key=lambda each: each.stat().st_mtime)
        total = sum(each.stat().st_size for each in files) + nbytes(found)
        while files and total > 8 * ROOM:
            total -= files[0].stat().st_size
            files.pop(0).unlink(missing_ok=True)
        saved.write(path, found, {"features": where, "digest": saved.digest(found)})
    except (errors.DiskError, OSError):
        return
