"""Rolling: a run of blocks of one structure with different weights becomes one scanned body.

Nodes of a normal form stand in a canonical order, so a run of equal blocks is a stretch of nodes
that repeats after ``period`` nodes, for every spelling of the model. Each argument of a block is

* made in the block itself,
* or carried: made by the block before, and for the first block by anything before the run,
* or the same for all blocks, from before the run;

and each of its weights is tied, one for all blocks, or stacked, one for each. What is used after
the run must be carried out of its last block. ``roll(graph)`` computes what ``graph`` does; an
address never sees it.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from lamda.function import Function
from lamda.normal import Graph, Node, Wire, is_wire
from lamda.rolled import Rolled
from lamda.types import ArrayType, leaves

AT_LEAST = 6
"""Blocks that are worth a loop: it costs some run time, as each step takes its weights out of the
stack, and saves compile time in proportion to the blocks (benchmarks/rolling.py)."""

LONGEST = 256
"""The most nodes in a block that are looked for."""

Groups: TypeAlias = tuple[tuple[int, ...], ...]
"""The slots of each of a program's weights: one, or those whose weights it takes stacked."""


class Slotted(NamedTuple):
    """What must be equal for weights to be stacked."""

    frozen: bool
    structure: Any
    types: tuple[ArrayType, ...]


def roll(graph: Graph, kinds: Sequence[Slotted], at_least: int = AT_LEAST) -> tuple[Graph, Groups]:
    """The graph with every run of ``at_least`` equal blocks as one node, and its weights' slots.

    ``kinds`` has one entry for each slot. :func:`stack` makes the weights of the result. Functions
    are equal when they compute the same, whatever their derivatives: this is for programs that
    are not differentiated any more.
    """
    found: list[_Run] = []
    uses = _uses(graph)
    for period, start, stop in _stretches(graph, kinds, at_least):
        free = _free(start, stop, [range(r.start, r.stop) for r in found])
        found += _fits(graph, uses, period, *free, at_least)
    return _rebuild(graph, sorted(found, key=lambda run: run.start))


def stack(groups: Groups, weights: Sequence[Any]) -> list[Any]:
    """The weights of a rolled graph, from those of each slot."""
    return [
        weights[group[0]]
        if len(group) == 1
        else jax.tree.map(lambda *each: jax.numpy.stack(each), *(weights[i] for i in group))
        for group in groups
    ]


@dataclass(frozen=True)
class _Run:
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
) -> Iterator[_Run]:
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
) -> _Run | None:
    """The longest run from ``start`` on."""
    count = _agreeing(graph, _Run(start, period, (stop - start) // period))
    while count >= at_least:
        run = _run(graph, start, period, count)
        if run is None:
            return None
        leak = _leak(run, uses)
        if leak is None:
            return run
        count = min(count - 1, leak + 1)
    return None


def _agreeing(graph: Graph, run: _Run) -> int:
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


def _leak(run: _Run, uses: list[dict[Wire, int]]) -> int | None:
    """The first block with a result that is read after the run, and is not carried out of it."""
    for index in range(run.start, run.stop):
        block = (index - run.start) // run.period
        last = block == run.count - 1
        for wire, use in uses[index].items():
            if use >= run.stop and not (last and run.carries(wire)):
                return block - 1 if last else block
    return None


def _run(graph: Graph, start: int, period: int, count: int) -> _Run | None:
    """The run of these blocks, if their types agree and their weights can be stacked."""
    run = _Run(start, period, count)
    for first in range(start, start + period):
        blocks = [graph.nodes[first + k * period] for k in range(count)]
        wires = [jax.tree.leaves(node.argument, is_leaf=is_wire) for node in blocks]
        for each in zip(*wires, strict=True):
            _place(run, each)
        for places in zip(*(node.slots for node in blocks), strict=True):
            run.slots.setdefault(places, len(run.slots))
    same_types = all(_type(graph, made) == _type(graph, init) for made, init in run.carried)
    return run if same_types and _stackable(graph, run) else None


def _place(run: _Run, wires: Sequence[Wire]) -> int:
    """Notes an argument: made in the block, carried, or one for all. How many blocks agree."""
    first, second = wires[:2]
    if second.node < run.start:
        run.same.setdefault(first, len(run.same))
        return sum(1 for _ in takewhile(lambda wire: wire == first, wires))
    if second.node >= run.start + run.period:
        return _moving(run, wires)
    run.carried.setdefault((second, first), len(run.carried))
    return 1 + _moving(run, wires[1:]) if first.node < run.start else 1


def _moving(run: _Run, wires: Sequence[Wire]) -> int:
    """How many wires are each the one before, a block later."""
    node, leaf = wires[0].node, wires[0].leaf
    expected = (Wire(node + k * run.period, leaf) for k in range(len(wires)))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(wires, expected)))  # noqa: B905


def _stackable(graph: Graph, run: _Run) -> bool:
    """Whether what is stacked is of this run alone."""
    stacked = [places for places in run.slots if len(set(places)) > 1]
    uses = Counter(place for places in run.slots for place in set(places))
    outside = (*graph.nodes[: run.start], *graph.nodes[run.stop :])
    elsewhere = {place for node in outside for place in node.slots} if stacked else set()
    return all(uses[place] == 1 and place not in elsewhere for p in stacked for place in p)


def _type(graph: Graph, wire: Wire) -> ArrayType:
    given = graph.input if wire.node < 0 else graph.nodes[wire.node].gives
    return [leaf for _, leaf in leaves(given)][wire.leaf]


def _rebuild(graph: Graph, runs: list[_Run]) -> tuple[Graph, Groups]:
    """The graph with each run as one node."""
    groups: dict[tuple[int, ...], int] = {}
    moved: dict[int, Callable[[Wire], Wire]] = {}
    nodes: list[Node] = []

    def move(wire: Wire) -> Wire:
        return wire if wire.node < 0 else moved[wire.node](wire)

    def tree(wires: Any) -> Any:
        return jax.tree.map(move, wires, is_leaf=is_wire)

    def place(slots: tuple[int, ...]) -> int:
        return groups.setdefault(slots, len(groups))

    starts = {run.start: run for run in runs}
    index = 0
    while index < len(graph.nodes):
        here, run = len(nodes), starts.get(index)
        if run is None:
            node = graph.nodes[index]
            slots = tuple(place((slot,)) for slot in node.slots)
            nodes.append(replace(node, slots=slots, argument=tree(node.argument)))
            moved[index] = lambda w, here=here: Wire(here, w.leaf)
            index += 1
        else:
            slots = tuple(place(tuple(dict.fromkeys(places))) for places in run.slots)
            nodes.append(replace(_node(graph, run, tree), slots=slots))
            out = {made: i for (made, _), i in reversed(run.carried.items())}
            last = run.period * (run.count - 1)
            for inner in range(run.stop - run.period, run.stop):
                moved[inner] = lambda w, here=here, out=out, last=last: Wire(
                    here, out[Wire(w.node - last, w.leaf)]
                )
            index = run.stop
    order = tuple(groups)
    representative = tuple(graph.slots[group[0]] for group in order)
    return Graph(graph.input, tuple(nodes), tree(graph.output), representative), order


def _node(graph: Graph, run: _Run, outside: Callable[[Any], Any]) -> Node:
    """The run as one node; ``outside`` moves wires from before it."""
    carried = tuple(init for _, init in run.carried)
    types = tuple(_type(graph, wire) for wire in carried)
    same = tuple(_type(graph, wire) for wire in run.same)
    op = Rolled(run.count, tuple(len(set(places)) > 1 for places in run.slots))
    body = _body(graph, run, (types, same))
    argument = outside((carried, tuple(run.same)))
    return Node(op, (), argument, (types, same), types, (body,))


def _body(graph: Graph, run: _Run, input: Any) -> Graph:
    """One block, of ``(carried, same)``."""
    second = range(run.start + run.period, run.start + 2 * run.period)
    blocks = list(run.slots)

    def move(wire: Wire, first: Wire) -> Wire:
        if wire.node in second:
            return Wire(wire.node - second.start, wire.leaf)
        if (wire, first) in run.carried:
            return Wire(-1, run.carried[wire, first])
        return Wire(-1, len(run.carried) + run.same[wire])

    def node(index: int) -> Node:
        first, here = graph.nodes[index - run.period], graph.nodes[index]
        places = zip(
            *(graph.nodes[index + (k - 1) * run.period].slots for k in range(run.count)),
            strict=True,
        )
        argument = jax.tree.map(move, here.argument, first.argument, is_leaf=is_wire)
        slots = tuple(blocks.index(each) for each in places)
        return replace(here, slots=slots, argument=argument)

    output = tuple(Wire(made.node - run.start, made.leaf) for made, _ in run.carried)
    slots = tuple(graph.slots[places[0]] for places in blocks)
    return Graph(input, tuple(map(node, second)), output, slots)
