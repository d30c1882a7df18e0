"""The loop: step after step, with a look at the loss now and then."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from lamda import errors
from lamda.fit.checkpoint import Checkpoint, State
from lamda.fit.progress import Bar

LOOK = 200
"""Steps between two looks at the loss, at most; looking waits for the device."""


class Event(NamedTuple):
    """What a callback is told, every so many steps."""

    step: int
    """The steps that were taken."""
    loss: float
    """The mean loss since the event before."""
    eval: float | None
    """The loss on the held-out data, where there is some."""
    weights: Any
    """The weights as they are now."""


Callback = Callable[[Event], object]


class Batches(Protocol):
    """Where the examples of each step come from."""

    def batch(self, step: int) -> tuple[Any, ...] | None:
        """What a step takes after weights and state; ``None`` where there is no more."""
        ...

    def address(self, step: int) -> str:
        """The address of the examples of a step."""
        ...

    def skip(self, state: State) -> None:
        """Go on after a state that was kept."""
        ...

    window: int
    """How many steps back a batch can be asked for again."""
    seen: str
    """The address of all that was given, where nobody knew it before."""


@dataclass(frozen=True)
class Loop:
    """How to train: what is done in a step, how often, and what else is done then."""

    step: Callable[..., Any]
    batches: Batches
    steps: int | None
    """How many steps; ``None`` for as many as there are batches."""
    every: int
    """Steps between two events."""
    evaluate: Callable[[Any], float] | None = None
    patience: int = 0
    callbacks: Sequence[Callback] = ()
    checkpoint: Checkpoint | None = None
    shown: bool = True

    def run(self, state: State) -> State:
        """The state after the last step. Raises DivergedError where a loss is not finite."""
        if self._over(state):
            return state
        with Bar("training", self.steps, self.shown, state.step) as bar:
            for until in self._looks(state.step):
                state = self._until(state, until, bar)
                if state.step < until:  # the batches are over
                    break
                if until % self.every == 0:
                    state = self._event(state)
                    if self._over(state):
                        return state
        return self._event(state) if state.step % self.every else state

    def _over(self, state: State) -> bool:
        return bool(self.patience) and state.waited >= self.patience

    def _looks(self, start: int) -> Iterator[int]:
        """The steps after which the losses are looked at."""
        at = start
        while self.steps is None or at < self.steps:
            event = (at // self.every + 1) * self.every
            at = min(at + min(LOOK, self.batches.window), event, self.steps or event)
            yield at

    def _until(self, state: State, until: int, bar: Bar) -> State:
        """Some steps, without waiting for any before the last."""
        weights, optimizer = state.weights, state.optimizer
        last = None
        values: list[Any] = []
        for at in range(state.step, until):
            taken = self.batches.batch(at)
            if taken is None:
                break
            last = weights
            weights, optimizer, value = self.step(weights, optimizer, *taken)
            values.append(value)
        losses = [float(value) for value in values]
        for i, loss in enumerate(losses):
            if not np.isfinite(loss):
                raise self._diverged(state, i, loss)
        if losses:
            bar.step(len(losses), loss=f"{losses[-1]:.4f}")
        state.losses.extend(losses)  # there may be millions
        return state._replace(
            weights=weights, optimizer=optimizer, step=state.step + len(losses),
            seen=self.batches.seen, good=last,
        )  # fmt: skip

    def _diverged(self, state: State, count: int, loss: float) -> errors.DivergedError:
        """The error, with the last weights whose loss was finite: the steps are taken again."""
        weights, optimizer = state.weights, state.optimizer
        good = weights if state.good is None else state.good
        for at in range(state.step, state.step + count):
            good = weights
            taken = self.batches.batch(at)
            assert taken is not None
            weights, optimizer, _ = self.step(weights, optimizer, *taken)
        step = state.step + count
        batch = self.batches.address(step)
        text = errors.FIT_NAN.format(value=loss, step=step + 1, batch=batch)
        return errors.DivergedError(text, step=step + 1, batch=batch, weights=good)

    def _event(self, state: State) -> State:
        found = None if self.evaluate is None else self.evaluate(state.weights)
        if found is not None and self.patience:
            if found < state.least:
                state = state._replace(best=state.weights, least=found, at=state.step, waited=0)
            else:
                state = state._replace(waited=state.waited + 1)
        if self.checkpoint is not None:  # first: a callback may end the run
            self.checkpoint.write(state)
        recent = state.losses[-min(self.every, len(state.losses)) :]
        for callback in self.callbacks:
            callback(Event(state.step, float(np.mean(recent)), found, state.weights))
        return state
