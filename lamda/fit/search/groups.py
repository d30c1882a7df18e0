"""Groups: which of the trials of a search are one program, and can be trained as one."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lamda.fit.plan import Plan
from lamda.fit.search.settings import Factory, Settings, alike, arguments, fixed
from lamda.model import Model
from lamda.tensor import Weights
from lamda.types import typeof


class Member(NamedTuple):
    """One trial: a candidate, and what its optimiser is made with."""

    place: int
    """Its place among all trials."""
    candidate: int
    model: Model
    settings: Settings
    optimizer: Any


class Group(NamedTuple):
    """Trials of one program, which differ in trained weights and in settings that are numbers."""

    plan: Plan
    """That of the first."""
    factory: Factory
    traced: list[str]
    """The settings that are arguments of the program."""
    lost: list[str]
    """The settings that are numbers and can not be."""
    members: list[Member]

    def make(self, numbers: dict[str, Any]) -> Any:
        """The optimiser, of numbers that may be traced."""
        return self.factory(**(fixed(self.members[0].settings, self.traced) | numbers))

    def numbers(self, member: Member) -> dict[str, jax.Array]:
        """What the optimiser of one is made of, for that."""
        return arguments(member.settings, self.traced)


def grouped(
    models: Sequence[Model],
    trials: Sequence[tuple[Settings, Any]],
    factory: Factory,
    plan: Callable[[Model, Any], Plan],
) -> list[Group]:
    """The groups, in order of their first trial. Raises SpecError where one can not be trained."""
    forms: dict[Hashable, tuple[Plan, list[int]]] = {}
    for index, model in enumerate(models):
        made = plan(model, trials[0][1])
        forms.setdefault(_form(model), (made, []))[1].append(index)
    return [
        Group(made, factory, traced, lost, [
            Member(index * len(trials) + place, index, models[index], *trials[place])
            for index in indices for place in places
        ])
        for made, indices in forms.values()
        for traced, lost, places in alike(factory, [each for each, _ in trials], _use(made))
    ]  # fmt: skip


def _use(plan: Plan) -> Callable[[Any], Any]:
    """What a step does with an optimiser."""
    weights, step = plan.split.model.weights, plan.step
    value = jnp.float32(0)

    def use(optimizer: Any) -> Any:
        own = replace(step, optimizer=optimizer)
        return own.update(weights, own.init(weights), weights, value, lambda _: value)

    return use


def _form(model: Model) -> Hashable:
    """What models of one program have in common: all but the numbers that are trained."""
    graph, paths = model.program, {s.token: p for s, p in model.slots.items() if not s.frozen}

    def fixed(bound: Weights) -> Hashable:
        return tuple(None if t.floating else t.digest for t in bound.tensors)

    slots = tuple(
        (bound.structure, bound.digests) if slot.frozen
        else (bound.structure, paths[slot.token], fixed(bound))
        for slot in graph.slots for bound in (model.environment[slot],)
    )  # fmt: skip
    leaves, structure = jax.tree.flatten(model.weights)
    return graph, slots, structure, tuple(map(typeof, leaves))
