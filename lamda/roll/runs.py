"""Finding runs: stretches of nodes that are one block after the other, with other weights."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

import jax
import numpy as np

from lamda.function import Function
from lamda.normal import Graph, Node, Wire, is_wire
from lamda.types import ArrayType, leaves

LONGEST = 256
"""The most nodes in a block that are looked for."""


class Slotted(NamedTuple):
    """What must be equal for weights to be stacked."""

    frozen: bool
    structure: Any
    types: tuple[ArrayType, ...]


@dataclass(frozen=True)
class Run:
    """``count`` blocks of ``period`` nodes from node ``start`` on."""

    start: int
    period: int
    count: int
    carried: dict[tuple[Wire, Wire], int] = field(default_factory=dict)
    """Made in the first block, and what the first block takes in its place: its number."""
    same: dict[Wire, int] = field(default_factory=dict)
    """What is the same for all blocks: its number."""
    slots: dict[tuple[int, ...], int] = field(default_factory=dict)
    """The slots of each weight, one for each block: its number."""

    @property
    def stop(self) -> int:
        return self.start + self.period * self.count

    def carries(self, wire: Wire) -> bool:
        """Whether a result of the last block is carried out of it."""
        first = Wire(wire.node - self.period * (self.count - 1), wire.leaf)
        return any(made == first for made, _ in self.carried)


def find(graph: Graph, kinds: Sequence[Slotted], at_least: int) -> list[Run]:
    """The runs of a graph, in order, none inside of another."""
    found: list[Run] = []
    uses = _uses(graph)
    for period, start, stop in _stretches(graph, kinds, at_least):
        free = _free(start, stop, [range(r.start, r.stop) for r in found])
        found += _fits(graph, uses, period, *free, at_least)
    return sorted(found, key=lambda run: run.start)


def _stretches(
    graph: Graph, kinds: Sequence[Slotted], at_least: int
) -> Iterator[tuple[int, int, int]]:
    """Stretches of nodes that repeat: period, start and stop; what saves most comes first."""
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(_code(node, kinds), len(numbers)) for node in graph.nodes])
    made = []
    for period in range(1, min(LONGEST, len(codes) // max(at_least, 1)) + 1):
        equal = np.concatenate([[False], codes[period:] == codes[:-period], [False]])
        edges = np.flatnonzero(equal[1:] != equal[:-1])
        for start, stop in zip(edges[::2].tolist(), (edges[1::2] + period).tolist(), strict=True):
            if stop - start >= at_least * period:
                made.append((period, start, stop))
    saved = [(stop - start) // period * period - period for period, start, stop in made]
    order = sorted(range(len(made)), key=lambda i: (-saved[i], made[i]))
    return (made[i] for i in order)


def _code(node: Node, kinds: Sequence[Slotted]) -> Hashable:
    """What two nodes of equal blocks have in common."""
    structure = jax.tree.structure(node.argument, is_leaf=is_wire)
    types = tuple(leaf for _, leaf in leaves(node.type))
    given = tuple(kinds[place] for place in node.slots)
    op: Hashable = node.op
    if isinstance(node.op, Function):
        weights = [jax.tree.unflatten(each.structure, each.types) for each in given]
        made = node.op.digest(weights[0] if weights else (), node.type)
        op = made.value, made.order
    return op, node.bodies, given, structure, types


def _free(start: int, stop: int, taken: list[range]) -> tuple[int, int]:
    """The part of a stretch before or after what is taken, whichever is longer."""
    for range_ in taken:
        if range_.start < stop and start < range_.stop:
            before, after = (start, min(stop, range_.start)), (max(start, range_.stop), stop)
            start, stop = max(before, after, key=lambda part: part[1] - part[0])
    return start, stop


def _uses(graph: Graph) -> list[dict[Wire, int]]:
    """The last node that reads each result of each node; beyond all, where it is put out."""
    uses: list[dict[Wire, int]] = [{} for _ in graph.nodes]
    trees = [*(node.argument for node in graph.nodes), graph.output]
    for index, tree in enumerate(trees):
        for wire in jax.tree.leaves(tree, is_leaf=is_wire):
            if wire.node >= 0:
                uses[wire.node][wire] = index
    return uses


def _fits(
    graph: Graph, uses: list[dict[Wire, int]], period: int, start: int, stop: int, at_least: int
) -> Iterator[Run]:
    """The runs in a stretch: each the longest, and of several the one that carries least."""
    while stop - start >= at_least * period:
        limit = stop - at_least * period + 1
        starts = range(start, min(start + period, limit))
        runs = [
            run
            for first in starts
            if (run := _longest(graph, uses, period, first, stop, at_least)) is not None
        ]
        if runs:
            best = min(runs, key=lambda r: (-r.count, len(r.carried), len(r.same), r.start))
            yield best
            start = best.stop
        else:
            start += period


def _longest(
    graph: Graph, uses: list[dict[Wire, int]], period: int, start: int, stop: int, at_least: int
) -> Run | None:
    """The longest run from ``start`` on."""
    count = _agreeing(graph, Run(start, period, (stop - start) // period))
    while count >= at_least:
        run = _run(graph, start, period, count)
        if run is None:
            return None
        leak = _leak(run, uses)
        if leak is None:
            return run
        count = min(count - 1, leak + 1)
    return None


def _agreeing(graph: Graph, run: Run) -> int:
    """How many blocks have arguments and weights of one pattern."""
    count = run.count
    for first in range(run.start, run.start + run.period):
        blocks = [graph.nodes[first + k * run.period] for k in range(count)]
        wires = [jax.tree.leaves(node.argument, is_leaf=is_wire) for node in blocks]
        for each in zip(*wires, strict=True):
            count = min(count, _place(run, each))
        for places in zip(*(node.slots for node in blocks), strict=True):
            count = min(count, _even(places))
    return count


def _even(places: Sequence[int]) -> int:
    """How many slots are one, or how many are all different, from the first on."""
    if places[0] == places[1]:
        return sum(1 for _ in takewhile(lambda place: place == places[0], places))
    first = {place: k for k, place in reversed(list(enumerate(places)))}
    return sum(1 for _ in takewhile(lambda pair: first[pair[1]] == pair[0], enumerate(places)))


def _leak(run: Run, uses: list[dict[Wire, int]]) -> int | None:
    """The first block with a result that is read after the run, and is not carried out of it."""
    for index in range(run.start, run.stop):
        block = (index - run.start) // run.period
        last = block == run.count - 1
        for wire, use in uses[index].items():
            if use >= run.stop and not (last and run.carries(wire)):
                return block - 1 if last else block
    return None


def _run(graph: Graph, start: int, period: int, count: int) -> Run | None:
    """The run of these blocks, if their types agree and their weights can be stacked."""
    run = Run(start, period, count)
    for first in range(start, start + period):
        blocks = [graph.nodes[first + k * period] for k in range(count)]
        wires = [jax.tree.leaves(node.argument, is_leaf=is_wire) for node in blocks]
        for each in zip(*wires, strict=True):
            _place(run, each)
        for places in zip(*(node.slots for node in blocks), strict=True):
            run.slots.setdefault(places, len(run.slots))
    same_types = all(type_of(graph, made) == type_of(graph, init) for made, init in run.carried)
    return run if same_types and _stackable(graph, run) else None


def _place(run: Run, wires: Sequence[Wire]) -> int:
    """Notes an argument: made in the block, carried, or one for all. How many blocks agree."""
    first, second = wires[:2]
    if second.node < run.start:
        run.same.setdefault(first, len(run.same))
        return sum(1 for _ in takewhile(lambda wire: wire == first, wires))
    if second.node >= run.start + run.period:
        return _moving(run, wires)
    run.carried.setdefault((second, first), len(run.carried))
    return 1 + _moving(run, wires[1:]) if first.node < run.start else 1


def _moving(run: Run, wires: Sequence[Wire]) -> int:
    """How many wires are each the one before, a block later."""
    node, leaf = wires[0].node, wires[0].leaf
    expected = (Wire(node + k * run.period, leaf) for k in range(len(wires)))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(wires, expected)))  # noqa: B905


def _stackable(graph: Graph, run: Run) -> bool:
    """Whether what is stacked is of this run alone."""
    stacked = [places for places in run.slots if len(set(places)) > 1]
    uses = Counter(place for places in run.slots for place in set(places))
    outside = (*graph.nodes[: run.start], *graph.nodes[run.stop :])
    elsewhere = {place for node in outside for place in node.slots} if stacked else set()
    return all(uses[place] == 1 and place not in elsewhere for p in stacked for place in p)


def type_of(graph: Graph, wire: Wire) -> ArrayType:
    """The type of one array in a graph."""
    given = graph.input if wire.node < 0 else graph.nodes[wire.node].gives
    return [leaf for _, leaf in leaves(given)][wire.leaf]
