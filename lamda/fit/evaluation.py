"""Evaluation: the loss over held-out examples, without randomness."""

from typing import Any

import jax

from lamda.fit.examples import Examples
from lamda.fit.step import Step

CHUNK = 256
"""Examples at a time."""


class Evaluation:
    """``evaluation(weights)`` is the mean loss over all examples; features are theirs."""

    def __init__(self, step: Step, features: Any, examples: Examples) -> None:
        self._count, self._batch = examples.count, (features, examples.targets)
        self._losses, self._fixed = jax.jit(step.losses), step.fixed

    def __call__(self, weights: Any) -> float:
        total = 0.0
        for start in range(0, self._count, CHUNK):
            stop = min(start + CHUNK, self._count)
            part = jax.tree.map(lambda a: a[start:stop], self._batch)  # noqa: B023
            total += float(self._losses(weights, *part, None, self._fixed).mean()) * (stop - start)
        return total / self._count
