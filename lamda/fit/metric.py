"""Metrics: how good predictions are, for each example or for all, where a loss says too little."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lamda import errors, types

Metric = Callable[[Any, Any], Any]
"""``metric(prediction, target)``: one number for each example, whose mean is taken."""


def accuracy(prediction: jax.Array, label: jax.Array) -> jax.Array:
    """Whether the greatest of the logits is that of the label, for each example.

    >>> import jax.numpy as jnp
    >>> accuracy(jnp.float32([[2, 1], [0, 3]]), jnp.int32([0, 0])).tolist()
    [True, False]

    Raises SpecError unless logits have one axis more than labels, which are whole numbers.
    """
    known = all(hasattr(each, "dtype") for each in (prediction, label))
    whole = known and jnp.issubdtype(label.dtype, jnp.integer)
    if not whole or prediction.shape[:-1] != label.shape or not prediction.shape:
        shown = [types.show(types.typeof(each)) for each in (prediction, label)]
        raise errors.SpecError(errors.ACCURACY.format(prediction=shown[0], label=shown[1]))
    return prediction.argmax(-1) == label


NAMED: dict[str, Metric] = {"accuracy": accuracy}


@dataclass(frozen=True)
class Scored:
    """A metric as a loss is: numbers of a floating type."""

    metric: Metric

    def __call__(self, prediction: Any, target: Any) -> jax.Array:
        value = jnp.asarray(self.metric(prediction, target))
        count = jax.tree.leaves(target)[0].shape[0]
        if value.shape not in ((), (count,)):
            given = types.show(types.typeof(value))
            raise errors.SpecError(errors.METRIC.format(count=count, given=given))
        return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.float32)


def named(metric: Metric | str) -> tuple[str, Scored]:
    """What a metric is called, and the metric. Raises SpecError for a name that none has."""
    if isinstance(metric, str) and metric in NAMED:
        return metric, Scored(NAMED[metric])
    if not callable(metric):
        raise errors.SpecError(errors.SEARCH_METRIC.format(given=metric, known=", ".join(NAMED)))
    return getattr(metric, "__name__", "metric").replace("<lambda>", "metric"), Scored(metric)
