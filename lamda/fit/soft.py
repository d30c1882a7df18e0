"""Losses on soft targets: what a teacher gives, and labels beside it.

They are values: two of one temperature are equal, so nothing is traced for the second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Softened:
    """``T^2`` times the cross entropy of softened logits, for each example."""

    temperature: float

    def __call__(self, prediction: jax.Array, output: jax.Array) -> jax.Array:
        given, wanted = (_wide(logits) / self.temperature for logits in (prediction, output))
        # T^2, as gradients of softened logits have 1 / T^2 of the size.
        share = jax.nn.softmax(wanted) * self.temperature**2
        return -(share * jax.nn.log_softmax(given)).sum(-1)


@dataclass(frozen=True)
class Mixed:
    """``(1 - alpha) * soft + alpha * hard``; targets are ``(output, label)``."""

    soft: Loss
    hard: Loss
    alpha: float

    def __call__(self, prediction: Any, targets: tuple[Any, Any]) -> jax.Array:
        output, label = targets
        soft, hard = self.soft(prediction, output), self.hard(prediction, label)
        return (1 - self.alpha) * jnp.mean(soft) + self.alpha * jnp.mean(hard)


def cross_entropy(prediction: jax.Array, label: jax.Array) -> jax.Array:
    """The cross entropy of logits with whole numbers as labels, for each example."""
    found = jax.nn.log_softmax(_wide(prediction))
    return -jnp.take_along_axis(found, label[..., None], -1)[..., 0]


def _wide(logits: jax.Array) -> jax.Array:
    """Logits in float32 at least."""
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
