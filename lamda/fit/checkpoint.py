"""Checkpoints: a run that was interrupted goes on where it was, to the bit."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lamda import errors
from lamda.fit import saved
from lamda.store.files import make_directory, written


class State(NamedTuple):
    """All that a step depends on, and what training has found so far."""

    weights: Any
    optimizer: Any
    losses: list[float]
    step: int = 0
    best: Any = None
    """The weights with the least loss on the held-out data, where training stops by it."""
    least: float = float("inf")
    at: int = 0
    """The step after which they were found."""
    waited: int = 0
    """How many looks at the held-out data were no better."""
    seen: str = ""
    """The address of what a stream has given."""
    good: Any = None
    """Weights whose loss is known to be finite; not kept."""


class Checkpoint:
    """One file for one receipt in a directory, written whole or not at all."""

    def __init__(self, directory: str | Path, receipt: str) -> None:
        self.path = Path(directory).absolute() / f"{receipt.removeprefix('sha256:')}.safetensors"
        self._receipt = receipt
        with written(self.path.parent):
            make_directory(self.path.parent)

    def read(self, start: State) -> State | None:
        """The state that was kept, if one was. ``start`` is one like it. Raises StoreError."""
        if not self.path.exists():
            return None
        like = (start.weights, start.optimizer, start.best)
        try:
            (weights, optimizer, best), note = saved.read(self.path, like)
            if note["receipt"] != self._receipt:
                raise ValueError(f"it is of another run, {note['receipt']}")
            if note["digest"] != saved.digest((weights, optimizer, best)):
                raise ValueError("its numbers are not those that were written")
        except (errors.StoreError, KeyError, ValueError) as error:
            text = errors.FIT_CHECKPOINT.format(path=self.path, error=error)
            raise errors.StoreError(text) from None
        weights, optimizer, best = jax.tree.map(jnp.asarray, (weights, optimizer, best))
        told = {name: note[name] for name in ("step", "at", "waited", "seen")}
        found = State(weights, optimizer, note["losses"], best=best, **told)
        return found._replace(least=float(note["least"]))

    def write(self, state: State) -> None:
        """Keep a state in place of the one before, which stays where that raises DiskError."""
        tree = (state.weights, state.optimizer, state.best)
        note = {
            "receipt": self._receipt,
            "digest": saved.digest(tree),
            "losses": state.losses,
            "step": state.step,
            "least": repr(state.least),
            "at": state.at,
            "waited": state.waited,
            "seen": state.seen,
        }
        saved.write(self.path, tree, note)

    def remove(self) -> None:
        """It is done, and nothing is to be gone on with."""
        self.path.unlink(missing_ok=True)
