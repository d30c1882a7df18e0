"""Building what is found: the graph with each run as one node."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import jax

from lamda.normal import Graph, Node, Wire, is_wire
from lamda.roll.runs import Run, type_of
from lamda.rolled import Rolled

Groups: TypeAlias = tuple[tuple[int, ...], ...]
"""The slots of each of a program's weights: one, or those whose weights it takes stacked."""


def rebuild(graph: Graph, runs: list[Run]) -> tuple[Graph, Groups]:
    """The graph with each run as one node, and the slots of each of its weights."""
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


def _node(graph: Graph, run: Run, outside: Callable[[Any], Any]) -> Node:
    """The run as one node; ``outside`` moves wires from before it."""
    carried = tuple(init for _, init in run.carried)
    types = tuple(type_of(graph, wire) for wire in carried)
    same = tuple(type_of(graph, wire) for wire in run.same)
    op = Rolled(run.count, tuple(len(set(places)) > 1 for places in run.slots))
    body = _body(graph, run, (types, same))
    argument = outside((carried, tuple(run.same)))
    return Node(op, (), argument, (types, same), types, (body,))


def _body(graph: Graph, run: Run, input: Any) -> Graph:
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
