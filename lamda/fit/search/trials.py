"""Trials: each candidate trained with each setting, those of one program at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax

from lamda import errors
from lamda.address import sha256
from lamda.fit import progress as told
from lamda.fit.batches import Rows
from lamda.fit.evaluation import Evaluation
from lamda.fit.examples import Examples, nbytes
from lamda.fit.fit import fit
from lamda.fit.metric import Scored
from lamda.fit.order import Order
from lamda.fit.plan import Plan
from lamda.fit.search.groups import Group, Member
from lamda.fit.search.ranking import Trial
from lamda.fit.search.together import Together
from lamda.fit.step import Step
from lamda.model import Model
from lamda.receipt import Receipt
from lamda.versions import succ

if TYPE_CHECKING:
    from lamda.store import Store

ROOM = 1 << 30
"""Bytes that may be taken by what is trained at once, where it is not said how many."""
COPIES = 8
"""How often weights are there while they are trained: as gradients, moments and so on."""
Done = tuple[Model, float, int | None]
"""A successor, its loss, and the step at which it diverged, where it did."""


@dataclass(frozen=True)
class Trials:
    """What all trials of a search have in common."""

    data: Any
    examples: Examples
    order: Order
    steps: int
    key: jax.Array
    held: Examples | None
    metric: tuple[str, Scored] | None
    together: int | None
    store: "Store | None"
    force: bool
    shown: bool

    def receipt(self, group: Group) -> Receipt:
        """That of a group, but for what each of its members has of its own; compiles nothing.

        Raises SpecError for a loss or a metric that does not fit, ImpureError.
        """
        split, step, size = group.plan.split, group.plan.step, self.order.size
        group.plan.require_parts(size)
        if group.lost:
            names = ", ".join(group.lost)
            told.say(errors.SEARCH_STATIC.format(names=names), self.shown)
        types = split.types(self.examples.inputs, self.examples.targets, size)
        found = group.plan.receipt(types, self.examples.address, steps=self.steps, batch=size)
        jax.eval_shape(step.losses, split.model.weights, *types)
        if self.held is not None:
            types = split.types(self.held.inputs, self.held.targets, size)
            for each in self._steps(group.plan).values():
                jax.eval_shape(each.losses, split.model.weights, *types)
        return found

    def rows(self, group: Group, receipt: Receipt) -> Iterator[tuple[int, Trial]]:
        """The trials of a group, each with its place."""
        measures = self._measures(group.plan)
        for member, (model, loss, diverged) in zip(
            group.members, self._done(group, receipt), strict=True
        ):
            found = {k: None if diverged else f(model.weights) for k, f in measures.items()}
            settings = MappingProxyType(member.settings)
            trial = Trial(model, settings, loss, diverged=diverged, candidate=member.candidate)
            yield member.place, trial._replace(**found)

    def _done(self, group: Group, receipt: Receipt) -> list[Done]:
        if len(group.members) == 1:
            return [self._alone(group.plan, group.members[0])]
        size = self._size(group)
        programs = Together(group.plan.step, group.make)
        parts = [group.members[i : i + size] for i in range(0, len(group.members), size)]
        return [
            done for part in parts for done in self._at_once(group, receipt, programs, part, size)
        ]

    def _alone(self, plan: Plan, member: Member) -> Done:
        try:
            found = fit(
                member.model, self.data, loss=plan.step.loss, optimizer=member.optimizer,
                steps=self.steps, batch=self.order.size, key=self.key,
                accumulate=plan.step.accumulate, dtype=plan.step.dtype, store=self.store,
                force=self.force, progress=self.shown,
            )  # fmt: skip
        except errors.DivergedError as error:
            return error.model, float("nan"), error.step
        assert found.receipt is not None
        return found, found.receipt.final, None

    def _at_once(
        self, group: Group, base: Receipt, programs: Together, part: list[Member], size: int
    ) -> list[Done]:
        """Some of a group; where they are too few for its programs, the last is there again."""
        filled = part + part[-1:] * (size - len(part))
        receipts = _receipts(group, base, programs, filled)[: len(part)]
        if (known := self._known(part, receipts)) is not None:
            return known
        features = group.plan.split.features(self.examples, self.shown)
        batches = Rows(
            programs, features, self.examples, self.order, group.plan.split.draw(self.key)
        )
        outcomes = programs.train(
            [member.model.weights for member in filled],
            [group.numbers(member) for member in filled], batches, self.steps, self.shown,
        )  # fmt: skip
        found = []
        for member, receipt, (weights, loss, diverged) in zip(
            part, receipts, outcomes[: len(part)], strict=True
        ):
            new = succ(member.model, weights)
            if diverged is None:
                done = replace(receipt, taken=self.steps, kept=self.steps, final=loss)
                new = new.derive(new.term, new.environment, pred=member.model, receipt=done)
            if self.store is not None:
                self.store.put(new)
            found.append((new, loss, diverged))
        return found

    def _known(self, part: list[Member], receipts: list[Receipt]) -> list[Done] | None:
        """What a store has of them, where it has all."""
        if self.store is None or self.force:
            return None
        found: list[Done] = []
        for member, receipt in zip(part, receipts, strict=True):
            model = self.store.trained(receipt)
            if model is None or model.receipt is None:
                return None
            new = model.derive(
                model.term, model.environment, pred=member.model, receipt=model.receipt
            )
            found.append((new, model.receipt.final, None))
        told.say(errors.SEARCH_FOUND.format(count=len(found)), self.shown)
        return found

    def _size(self, group: Group) -> int:
        """How many are trained at once: parts of one size, so that each program is made once."""
        count = len(group.members)
        room = max(1, ROOM // (COPIES * max(1, nbytes(group.plan.split.model.weights))))
        parts = -(-count // min(self.together or room, count))
        return -(-count // parts)

    def _steps(self, plan: Plan) -> dict[str, Step]:
        """What is looked at on the held-out data, as the losses of steps."""
        found = {"eval": plan.step}
        return (
            found
            if self.metric is None
            else found | {"metric": replace(plan.step, loss=self.metric[1])}
        )

    def _measures(self, plan: Plan) -> dict[str, Evaluation]:
        if self.held is None:
            return {}
        features = plan.split.features(self.held, self.shown)
        return {
            name: Evaluation(step, features, self.held) for name, step in self._steps(plan).items()
        }


def _receipts(group: Group, base: Receipt, programs: Together, part: list[Member]) -> list[Receipt]:
    """What goes into each, and beside what."""
    numbers = [group.numbers(member) for member in part]
    optimizers = programs.addresses(group.plan.split.model.weights, numbers)
    own = [
        replace(base, model=member.model.address, optimizer=optimizer)
        for member, optimizer in zip(part, optimizers, strict=True)
    ]
    every = [receipt.address for receipt in own]
    return [
        replace(receipt, together=sha256(["together", place, every]))
        for place, receipt in enumerate(own)
    ]
