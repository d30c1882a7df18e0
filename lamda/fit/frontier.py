"""The frontier: where what training can not change ends, and what it changes begins.

A graph is cut in two, ``graph(x)`` is ``back(front(x))``: ``front`` holds every application that
depends on no trained weight, so its values are computed once for each example, not once for each
step. What depends on no input either, such as weights that are unpacked from fewer bits, has no
value for each example: it stands in both.
"""

from dataclasses import replace
from typing import Any

import jax

from lamda.evaluate import draws
from lamda.normal import Graph, Wire, is_wire
from lamda.types import ArrayType, leaves


def cut(graph: Graph) -> tuple[Graph, Graph]:
    """``front, back``, where ``graph(x)`` is ``back(front(x))``; both have the graph's slots."""
    fixed: list[bool] = []
    constant: list[bool] = []
    for node in graph.nodes:
        wires = _wires(node.argument)
        own = all(graph.slots[place].frozen for place in node.slots) and not draws(node)
        fixed.append(own and all(w.node < 0 or fixed[w.node] for w in wires))
        constant.append(fixed[-1] and all(w.node >= 0 and constant[w.node] for w in wires))
    ahead = [i for i, still in enumerate(fixed) if still]
    behind = [i for i, still in enumerate(fixed) if not still or constant[i]]
    asked = [w for i in behind for w in _wires(graph.nodes[i].argument)] + _wires(graph.output)
    border = tuple(
        dict.fromkeys(w for w in asked if w.node < 0 or (fixed[w.node] and not constant[w.node]))
    )
    moved = {wire: Wire(-1, i) for i, wire in enumerate(border)}
    front = _part(graph, ahead, {}, border)
    back = replace(_part(graph, behind, moved, graph.output), input=_types(graph, border))
    return front, back


def _part(graph: Graph, chosen: list[int], moved: dict[Wire, Wire], output: Any) -> Graph:
    """The chosen nodes as a graph of their own."""
    place = {index: i for i, index in enumerate(chosen)}

    def move(wire: Wire) -> Wire:
        return moved.get(wire) or (wire if wire.node < 0 else Wire(place[wire.node], wire.leaf))

    def tree(wires: Any) -> Any:
        return jax.tree.map(move, wires, is_leaf=is_wire)

    nodes = tuple(replace(graph.nodes[i], argument=tree(graph.nodes[i].argument)) for i in chosen)
    return Graph(graph.input, nodes, tree(output), graph.slots)


def _types(graph: Graph, border: tuple[Wire, ...]) -> tuple[ArrayType, ...]:
    def type_of(wire: Wire) -> ArrayType:
        given = graph.input if wire.node < 0 else graph.nodes[wire.node].gives
        return list(leaves(given))[wire.leaf][1]

    return tuple(map(type_of, border))


def _wires(tree: Any) -> list[Wire]:
    return jax.tree.leaves(tree, is_leaf=is_wire)
