"""Replies: what a machine says of a fit, as numbers and bytes that can be sent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lamda import errors
from lamda.fit.loop import Event
from lamda.model import Model
from lamda.receipt import PROGRAMS, Receipt
from lamda.versions import succ


class Result(NamedTuple):
    """A successor, without what it is the successor of."""

    leaves: list[np.ndarray]
    address: str
    receipt: Receipt
    programs: dict[str, bytes]

    @classmethod
    def of(cls, model: Model) -> "Result":
        """What is to be known of a trained model."""
        assert model.receipt is not None
        programs = {name: load() for name, load in (model.remembered(PROGRAMS) or {}).items()}
        leaves = jax.device_get(jax.tree.leaves(model.weights))
        return cls(leaves, model.address, model.receipt, programs)

    def after(self, model: Model) -> Model:
        """The successor. Raises MachineError where it is another than it was there."""
        new = succ(model, _like(model, self.leaves))
        new = new.derive(new.term, new.environment, pred=model, receipt=self.receipt)
        if new.address != self.address:
            told = {"given": new.address, "wanted": self.address}
            raise errors.MachineError(errors.MACHINES_RESULT.format(**told))
        new.remember(PROGRAMS, {name: _constant(each) for name, each in self.programs.items()})
        return new


class Failure(NamedTuple):
    """An error, as what can be sent."""

    kind: type[Exception] | None
    """One of lamda; ``None`` for any other."""
    text: str
    diverged: tuple[int, str, list[np.ndarray]] | None = None
    """Step, batch and the last good weights of a DivergedError."""

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """What is to be known of an error."""
        match error:
            case errors.DivergedError():
                good = jax.device_get(jax.tree.leaves(error.model.weights))
                return cls(type(error), str(error), (error.step, error.batch, good))
            case errors.LamdaError():
                return cls(type(error), str(error))
        return cls(None, f"{type(error).__name__}: {error}")

    def error(self, model: Model) -> Exception:
        """The error of the language that it was."""
        assert self.kind is not None
        if self.diverged is None:
            return self.kind(self.text)
        step, batch, good = self.diverged
        weights = _like(model, good)
        error = errors.DivergedError(self.text, step=step, batch=batch, weights=weights)
        error.model = succ(model, weights)
        return error


def sent(event: Event, weights: bool) -> Event:
    """An event with weights as numbers, where somebody wants them."""
    return event._replace(weights=jax.device_get(jax.tree.leaves(event.weights)) if weights else [])


def received(event: Event, model: Model) -> Event:
    """An event with weights as they are of a model here."""
    return event._replace(weights=_like(model, event.weights))


def _like(model: Model, leaves: list[np.ndarray]) -> Any:
    return jax.tree.unflatten(jax.tree.structure(model.weights), map(jnp.asarray, leaves))


def _constant(value: bytes) -> Callable[[], bytes]:
    return lambda: value
