"""A run: from a model and the programs of a step to its successor, kept where it is to be."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamda import errors
from lamda.fit import progress as told
from lamda.fit.checkpoint import Checkpoint, State
from lamda.fit.loop import Batches, Callback, Loop
from lamda.fit.programs import Compiled
from lamda.model import Model
from lamda.receipt import PROGRAMS, Receipt
from lamda.versions import succ

if TYPE_CHECKING:
    from lamda.store import Store


class Run(NamedTuple):
    """What is done beside the steps."""

    callbacks: Sequence[Callback] = ()
    checkpoint: str | Path | None = None
    store: "Store | None" = None
    shown: bool = True

    def train(
        self,
        model: Model,
        compiled: Compiled,
        receipt: Receipt,
        step: Callable[..., Any],
        batches: Batches,
        every: int,
        evaluate: Callable[[Any], float] | None = None,
    ) -> Model:
        """The successor of a model. Raises DivergedError, DiskError, StoreError."""
        processes = compiled.processes
        processes.require_same("the inputs", receipt.address)
        point = None if self.checkpoint is None else Checkpoint(self.checkpoint, receipt.address)
        weights = compiled.everywhere(model.weights)
        best = weights if receipt.patience else None
        state = State(weights, compiled.state(weights), [], best=best)
        if point is not None:
            state = self._resumed(state, point, batches, compiled)
        loop = Loop(
            step, batches, receipt.steps or None, every, evaluate, receipt.patience,
            self.callbacks, point if processes.first else None, self.shown,
        )  # fmt: skip
        try:
            state = loop.run(state)
        except errors.DivergedError as error:
            error.model = succ(model, compiled.here(error.weights))
            if self.store is not None and processes.first:
                self.store.put(error.model)
            raise
        new = _result(model, compiled, receipt, state)
        if processes.several:  # where it is not asked for, nothing is hashed
            processes.require_same("the result", new.address)
        if self.store is not None and processes.first:
            self.store.put(new)
        if point is not None and processes.first:
            point.remove()
        processes.wait()  # what is kept is there for all
        return new

    def _resumed(
        self, state: State, point: Checkpoint, batches: Batches, compiled: Compiled
    ) -> State:
        found = point.read(state)
        at = "none" if found is None else f"one after step {found.step}"
        compiled.processes.require_same(f"the checkpoint of {point.path.parent}", at)
        if found is None:
            return state
        told.say(f"goes on after step {found.step}, from {point.path}", self.shown)
        batches.skip(found)
        kept = compiled.everywhere((found.weights, found.optimizer, found.best))
        return found._replace(weights=kept[0], optimizer=kept[1], best=kept[2])


def _result(model: Model, compiled: Compiled, receipt: Receipt, state: State) -> Model:
    """The successor, with the receipt of what went into it and what was found."""
    best = state.least < float("inf")
    new = succ(model, compiled.here(state.best if best else state.weights))
    tail = state.losses[-max(1, state.step // 10) :]
    found = replace(
        receipt, data=receipt.data or state.seen, steps=receipt.steps or state.step,
        taken=state.step, kept=state.at if best else state.step, final=float(np.mean(tail)),
    )  # fmt: skip
    new = new.derive(new.term, new.environment, pred=model, receipt=found)
    new.remember(PROGRAMS, compiled.programs.stored())
    return new
