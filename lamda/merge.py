"""Merging: what other lineages changed since they parted is replayed on a model."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import address, errors
from lamda.diff import diff
from lamda.model import Model, models
from lamda.normal import normalise
from lamda.tensor import Tensor, Weights
from lamda.term import Slot, erase
from lamda.versions import pred, succ

CHUNK = 1 << 16
"""Numbers that are added at a time."""

SHOWN = 8
"""Differences that an error tells."""

Path = tuple[str, ...]
Change = tuple[float, Tensor]
"""A tensor that a lineage has changed, and the scale at which that is replayed."""


def merge(
    model: Model,
    *others: Model,
    base: Model | None = None,
    scale: float | Sequence[float] = 1.0,
) -> Model:
    """``merge(m, n)`` is the successor of ``m`` with weights ``m + scale * (n - base)``.

    What the others changed since ``base`` is added to the trained weights of ``model``: task
    arithmetic. ``base`` is the latest version that all of them come from, found by address. What
    is common to the lineages before it is not counted twice; to count it, as ``add`` does on the
    numerals, say an earlier ``base``. ``scale`` is one number, or one for each of the others; at
    ``-1`` a change is taken back, so what was learned by it is forgotten.

    Sums are in float64, rounded at the end to the dtype of the weight. What one lineage alone has
    changed is, at scale 1, to the bit as it is there. Tied weights are one weight.

    >>> import jax.numpy as jnp, lamda as lm
    >>> base = lm.lift(lambda w, x: x * w, jnp.float32([1, 1, 1]), input="float32[3]", name="f")
    >>> one = lm.succ(base, jnp.float32([1, 5, 2]))
    >>> two = lm.succ(base, jnp.float32([4, 1, 3]))
    >>> merge(one, two).weights.tolist(), merge(one, two, scale=-1).weights.tolist()
    ([4.0, 5.0, 4.0], [-2.0, 5.0, 0.0])

    Laws: ``merge(m, base)`` is ``m`` and ``merge(base, m)`` is ``m``, in address; so is
    ``merge(m, n)`` ``merge(n, m)``, and within ulps any order of more.

    Raises SuccessionError where there is no common predecessor, MismatchError for models of
    another structure, SpecError where weights that are not trained differ, for a scale that is no
    number, and where a sum is not finite.

    Source: Editing Models with Task Arithmetic, https://arxiv.org/abs/2212.04089, section 2.
    """
    lineages = models("merge", (model, *others))
    scales = (1.0, *_scales(scale, len(others)))
    start = _common(lineages) if base is None else models("merge", [base])[0]
    for each in (start, *others):
        _require_structure(model, each)
    old, *new = [{path: tensor for path, tensor, _ in m.tensors()} for m in (start, *lineages)]
    _require_fixed(model, (old, *new))

    def replayed(path: Path, tensor: Tensor) -> Tensor:
        before = old[path]
        after = [(s, tensors[path]) for s, tensors in zip(scales, new, strict=True) if s]
        changed = [(s, t) for s, t in after if t.digest != before.digest]
        return _replayed(path, before, changed) if changed else tensor

    return succ(model, _with(model, replayed))


def _scales(scale: Any, count: int) -> Sequence[float]:
    """One scale for each of the others. Raises SpecError."""
    given = list(scale) if isinstance(scale, Sequence | np.ndarray) else [scale] * count
    if len(given) != count or not all(map(_is_number, given)):
        raise errors.SpecError(errors.MERGE_SCALE.format(count=count, given=scale))
    return [float(number) for number in given]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def _common(lineages: Sequence[Model]) -> Model:
    """The latest version that all come from. Raises SuccessionError."""
    seen: list[dict[str, Model]] = [{} for _ in lineages]
    # All go back a step at a time: of a long lineage no more is read than leads to what is common.
    for versions in zip_longest(*map(_back, lineages)):
        for known, version in zip(seen, versions, strict=True):
            if version is not None:
                known.setdefault(version.address, version)
        if found := set(seen[0]).intersection(*seen[1:]):
            return next(version for who, version in seen[0].items() if who in found)
    firsts = ", ".join(list(known)[-1] for known in seen)
    raise errors.SuccessionError(errors.MERGE_NO_BASE.format(name=lineages[0], firsts=firsts))


def _back(model: Model) -> Iterator[Model]:
    """A version and those before it, newest first."""
    at: Model | None = model
    while at is not None:
        yield at
        at = pred(at)


def _require_structure(model: Model, other: Model) -> None:
    """Raises MismatchError unless two models are one but for the numbers of their weights."""
    if _structure(model) == _structure(other):
        return
    found = diff(model, other)
    tensors = [str(change) for change in found.tensors if change.before != change.after]
    lines = [*found.types, *found.parts, *tensors]
    more = [f"and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)
    told = "\n".join(f"  {line}" for line in [*lines[:SHOWN], *more])
    text = errors.MERGE_STRUCTURE.format(name=model, other=other, differences=told)
    raise errors.MismatchError(text)


def _structure(model: Model) -> tuple[str, Any]:
    """The address that a model would have if each tensor's digest were its path; and those."""
    model.require_closed()
    graph = normalise(
        erase(model.term), model.require_input(), lambda slot: slot, model.weights_type
    )
    bound = [model.environment[slot] for slot in graph.slots]
    named = [
        [f"{model.slots[slot]} {i}" for i in range(len(weights.tensors))]
        for slot, weights in zip(graph.slots, bound, strict=True)
    ]
    shape = address.address(graph, lambda i: bound[i].type, lambda i: named[i])
    return shape, [(path, tensor.type) for path, tensor, _ in model.tensors()]


def _require_fixed(model: Model, lineages: Sequence[dict[Path, Tensor]]) -> None:
    """Raises SpecError unless what ``model`` does not train is the same in all."""
    fixed = [path for path, _, trained in model.tensors() if not trained]
    differ = [path for path in fixed if len({tensors[path].digest for tensors in lineages}) > 1]
    if differ:
        paths = ", ".join("/".join(path) or "(the root)" for path in differ)
        raise errors.SpecError(errors.MERGE_FIXED.format(name=model, paths=paths))


def _with(model: Model, function: Callable[[Path, Tensor], Tensor]) -> Model:
    """The model with ``function(path, tensor)`` for each weight that is trained."""
    bound: dict[Slot, Weights] = {}
    for slot, path in model.slots.items():
        weights = model.environment[slot]
        if not slot.frozen:
            new = tuple(
                function((*path, *leaf), tensor) if tensor.floating else tensor
                for leaf, tensor in weights.items()
            )
            if any(a is not b for a, b in zip(new, weights.tensors, strict=True)):
                bound[slot] = Weights(weights.structure, new)
    return model.bind(bound)


def _replayed(path: Path, base: Tensor, changed: Sequence[Change]) -> Tensor:
    """``base + sum(scale * (tensor - base))``. Raises SpecError where that is not finite."""
    if len(changed) == 1 and changed[0][0] == 1:
        return changed[0][1]
    old = np.asarray(base.array)
    new = [(scale, np.asarray(tensor.array).reshape(-1)) for scale, tensor in changed]
    sums = np.empty(old.size, old.dtype)
    flat = old.reshape(-1)
    for start in range(0, old.size, CHUNK):
        at = slice(start, start + CHUNK)
        if not _add(sums[at], flat[at], [(scale, numbers[at]) for scale, numbers in new]):
            where = "/".join(path) or "(the root)"
            raise errors.SpecError(errors.MERGE_FINITE.format(path=where))
    array = sums.reshape(old.shape)
    # JAX would make a number of 64 bits one of 32, where it was not told to keep them.
    kept = jax.dtypes.canonicalize_dtype(old.dtype) == old.dtype
    return Tensor(jnp.asarray(array) if kept else array)


def _add(sums: np.ndarray, old: np.ndarray, new: Sequence[tuple[float, np.ndarray]]) -> bool:
    """Put the sums of a piece in place; whether they are finite."""
    wide = np.complex128 if np.iscomplexobj(old) else np.float64
    with np.errstate(all="ignore"):  # what is not finite is found, and told
        start = old.astype(wide)
        change = sum((scale * (numbers.astype(wide) - start) for scale, numbers in new), 0 * start)
        sums[:] = (start + change).astype(old.dtype)
    moved = [_bits(numbers) != _bits(old) for _, numbers in new]
    count = np.sum(moved, axis=0)
    exact = [(count == 0, old)]
    for (scale, numbers), own in zip(new, moved, strict=True):
        if scale == 1:
            exact.append((own & (count == 1), numbers))
    finite = np.isfinite(sums)
    for where, numbers in exact:
        np.copyto(sums, numbers, where=where)
        finite |= where
    return bool(finite.all())


def _bits(array: np.ndarray) -> np.ndarray:
    return array.view(f"u{array.dtype.itemsize}")
