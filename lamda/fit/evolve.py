"""Evolving: a version is fitted to data that has grown, and followed by what is no worse.

The successor is trained by the programs of the version's receipt: its loss, its optimiser, its
batch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from lamda import errors
from lamda.fit.examples import Examples, given
from lamda.fit.holdout import parted
from lamda.fit.metric import Metric, named
from lamda.fit.reproduce import again, recorded
from lamda.fit.run import Run
from lamda.model import Model

if TYPE_CHECKING:
    from lamda.store import Store

CHUNK = 256
"""Examples at a time while a metric is taken."""


class Evolved(NamedTuple):
    """What came of a version and new data."""

    ref: str
    metric: str
    before: float
    """The mean of the metric over what is held out, for the version that the ref named."""
    after: float
    """The same for its successor."""
    trained: int
    """Examples that the successor was fitted to."""
    held: int
    """Examples that were held out."""
    moved: bool
    """Whether the ref names the successor now."""
    model: Model
    """The successor."""


def evolve(
    store: "Store",
    ref: str,
    data: Any,
    *,
    metric: Metric | str = "accuracy",
    least: bool = False,
    holdout: float = 0.2,
    steps: int | None = None,
    progress: bool = True,
) -> Evolved:
    """Fit the successor of a ref's version, and move the ref unless the metric fell.

    ``data`` is a data set, the name of one in the store, or ``(inputs, targets)``. A share of it,
    ``holdout``, is not trained on: the mean of ``metric(prediction, target)`` over that, for both
    versions, says whether the ref moves; with ``least``, less is better. ``steps`` are as many as
    the version before took, unless said.

    Raises SpecError where the version was not trained by :func:`fit`, or there is too little data;
    SuccessionError where the ref has moved meanwhile; what :func:`fit` raises.
    """
    model = store.get(ref)
    receipt, programs, _ = recorded(model, ref)
    name, scored = named(metric)
    examples = given(model, store.data(data) if isinstance(data, str) else data)
    train, held = parted(examples, holdout)
    if held.count == 0 or train.count < receipt.batch:
        said = {"batch": receipt.batch, "train": train.count, "held": held.count}
        raise errors.SpecError(errors.LITTLE_DATA.format(**said))
    asked = replace(
        receipt, whole=examples.address, holdout=holdout, steps=steps or receipt.kept, eval="",
        every=0, patience=0,
    )  # fmt: skip
    new = again(model, programs, asked, train, Run(shown=progress))
    before, after = (_mean(each, scored, held) for each in (model, new))
    moved = after <= before if least else after >= before
    if moved:
        store.put(new, ref=ref)
    return Evolved(ref, name, before, after, train.count, held.count, moved, new)


def _mean(model: Model, scored: Callable[[Any, Any], jax.Array], held: Examples) -> float:
    """The mean of a metric over examples."""
    total = 0.0
    for start in range(0, held.count, CHUNK):
        rows = np.arange(start, min(start + CHUNK, held.count))
        inputs, targets = held.rows(rows)
        total += float(scored(model(inputs), targets).mean()) * len(rows)
    return total / held.count
