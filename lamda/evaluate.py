"""Evaluation: a graph as a pure JAX function."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax

from lamda.function import Function
from lamda.normal import Graph, Node, is_wire
from lamda.rolled import Rolled


def run(graph: Graph, weights: Sequence[Any], x: Any) -> Any:
    """The value of a graph: every application once, in order.

    ``weights`` has one tree of arrays for each of ``graph.slots``. Pure JAX: any transformation
    may go over it.
    """
    given = jax.tree.leaves(x)
    values: list[list[Any]] = []

    def at(tree: Any) -> Any:
        return jax.tree.map(
            lambda w: given[w.leaf] if w.node < 0 else values[w.node][w.leaf],
            tree,
            is_leaf=is_wire,
        )

    for node in graph.nodes:
        given_weights = [weights[place] for place in node.slots]
        values.append(jax.tree.leaves(_apply(node, given_weights, at(node.argument))))
    return at(graph.output)


def _apply(node: Node, weights: Sequence[Any], argument: Any) -> Any:
    """The value of one node."""
    if isinstance(node.op, Function):
        return node.op.call(weights[0] if weights else (), argument)
    if isinstance(node.op, Rolled):
        return node.op.run(partial(run, node.bodies[0]), weights, argument)
    bodies, taken = [], 0
    for body in node.bodies:
        own = weights[taken : taken + len(body.slots)]
        bodies.append(partial(run, body, own))
        taken += len(own)
    return node.op.run(bodies, argument)
