"""Together: candidates of one program, trained in one.

Their weights, the states of their optimisers and the settings of these are stacked, and one step
is mapped over them. The examples of a step, their features and what is drawn are shared.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lamda import digest
from lamda.address import sha256
from lamda.fit.batches import Rows
from lamda.fit.loop import LOOK
from lamda.fit.progress import Bar
from lamda.fit.step import Step, struct

Make = Callable[[dict[str, Any]], Any]
"""The optimiser of some settings, whose numbers may be traced."""


class Carry(NamedTuple):
    """What a step hands to the next, for every candidate along a first axis."""

    weights: Any
    optimizer: Any
    good: Any
    """The last weights whose loss was finite."""
    alive: jax.Array
    """Whether every loss was."""


class Outcome(NamedTuple):
    """What became of one candidate."""

    weights: Any
    loss: float
    diverged: int | None
    """The step whose loss was not finite, from 1."""


class Together:
    """The programs of candidates that differ in numbers alone."""

    def __init__(self, step: Step, make: Make) -> None:
        self._one, self._make = step, make
        self._first = jax.jit(self._init)
        self.of_batch: Callable[..., Any] = jax.jit(self._step)
        """``of_batch(carry, settings, features, targets, key)``."""

        def rows(carry: Carry, settings: Any, data: Any, rows: Any, key: Any) -> Any:
            features, targets = jax.tree.map(lambda a: a[rows], data)
            return self._step(carry, settings, features, targets, key)

        self.of_rows: Callable[..., Any] = jax.jit(rows)
        """``of_rows(carry, settings, (features, targets), rows, key)``."""

    def everywhere(self, tree: Any) -> Any:
        """Arrays where they are computed with."""
        return jax.tree.map(jnp.asarray, tree)

    def train(
        self, weights: Sequence[Any], settings: Sequence[Any], batches: Rows, steps: int,
        shown: bool,
    ) -> list[Outcome]:  # fmt: skip
        """So many steps of each. One whose loss is not finite does not end the others."""
        stacked, given = stack(weights), stack(settings)
        alive = jnp.ones(len(weights), bool)
        carry = Carry(stacked, self._first(stacked, given), stacked, alive)
        losses: list[np.ndarray] = []
        with Bar(f"training {len(weights)} together", steps, shown) as bar:
            while len(losses) < steps:
                values = []
                for at in range(len(losses), min(len(losses) + LOOK, steps)):
                    carry, value = batches.step(carry, given, *batches.batch(at))
                    values.append(value)
                losses += map(np.asarray, values)  # which waits for them
                finite = losses[-1][np.isfinite(losses[-1])]
                if not finite.size:
                    break
                bar.step(len(values), loss=f"{finite.min():.4f}")
        found = zip(
            unstack(carry.weights, len(weights)), unstack(carry.good, len(weights)),
            np.stack(losses, axis=1).astype(float), strict=True,
        )  # fmt: skip
        return [_outcome(*each) for each in found]

    def addresses(self, weights: Any, settings: Sequence[Any]) -> list[str]:
        """The digests of the optimiser: its programs, which take settings, and those of each."""
        w, given = jax.tree.map(struct, weights), jax.tree.map(_weak, settings[0])
        state = jax.eval_shape(self._state, w, given)
        first = digest.of_function(self._state, w, given)
        value = jax.ShapeDtypeStruct((), jnp.float32)

        def update(gradient: Any, state: Any, weights: Any, value: Any, settings: Any) -> Any:
            step = self._made(settings)
            return step.update(gradient, state, weights, value, lambda _: value)

        then = digest.of_function(update, w, state, w, value, given)
        numbers = [sorted((n, float(v).hex()) for n, v in each.items()) for each in settings]
        return [sha256(["optimizer", first, then, [list(n) for n in each]]) for each in numbers]

    def _made(self, settings: dict[str, Any]) -> Step:
        return replace(self._one, optimizer=self._make(settings))

    def _state(self, weights: Any, settings: dict[str, Any]) -> Any:
        return self._made(settings).init(weights)

    def _init(self, weights: Any, settings: Any) -> Any:
        return over(self._state, weights, settings)

    def _step(
        self, carry: Carry, settings: Any, features: Any, targets: Any, key: Any
    ) -> tuple[Carry, jax.Array]:
        def one(carry: Carry, settings: Any) -> tuple[Carry, jax.Array]:
            step = self._made(settings)
            new, state, loss = step(carry.weights, carry.optimizer, features, targets, key)
            alive = carry.alive & jnp.isfinite(loss)
            good = jax.tree.map(lambda a, b: jnp.where(alive, a, b), carry.weights, carry.good)
            return Carry(new, state, good, alive), loss

        return over(one, carry, settings)


def over(function: Callable[..., Any], *trees: Any) -> Any:
    """``function`` of each along the first axis of arrays, at once where that can be."""
    try:
        return jax.vmap(function)(*trees)
    except NotImplementedError:
        # A stored program has no batching rule; it runs on one after the other.
        return jax.lax.map(lambda each: function(*each), trees)


def stack(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one, along a new first axis; numbers of Python stay such."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(tree: Any, count: int) -> list[Any]:
    """The trees that were stacked, each with arrays of its own."""
    host = jax.device_get(tree)
    return [jax.tree.map(lambda a: jnp.array(a[i]), host) for i in range(count)]  # noqa: B023


def _outcome(weights: Any, good: Any, losses: np.ndarray) -> Outcome:
    bad = ~np.isfinite(losses)
    if bad.any():
        step = int(bad.argmax())
        return Outcome(good, float(losses[step]), step + 1)
    return Outcome(weights, float(losses[-max(1, len(losses) // 10) :].mean()), None)


def _weak(number: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(number.shape, number.dtype, weak_type=True)
