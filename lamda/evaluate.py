"""Evaluation: a graph as a pure JAX function."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax

from lamda.function import Function
from lamda.normal import Graph, Node, is_wire
from lamda.rolled import Rolled


def run(graph: Graph, weights: Sequence[Any], x: Any, key: jax.Array | None = None) -> Any:
    """The value of a graph: every application once, in order.

    ``weights`` has one tree of arrays for each of ``graph.slots``. Pure JAX: any transformation
    may go over it.

    With a ``key``, functions that are random draw from it, each from the key folded with its place
    in the graph: a part that is shared draws once, and brackets change nothing. The body of a
    control draws the same in each of its rounds.
    """
    given = jax.tree.leaves(x)
    values: list[list[Any]] = []

    def at(tree: Any) -> Any:
        return jax.tree.map(
            lambda w: given[w.leaf] if w.node < 0 else values[w.node][w.leaf],
            tree,
            is_leaf=is_wire,
        )

    for place, node in enumerate(graph.nodes):
        own = [weights[slot] for slot in node.slots]
        drawn = jax.random.fold_in(key, place) if key is not None and random(node) else None
        values.append(jax.tree.leaves(_apply(node, own, at(node.argument), drawn)))
    return at(graph.output)


def random(node: Node) -> bool:
    """Whether a node draws from a key, or a body of it does."""
    if isinstance(node.op, Function):
        return node.op.sample is not None
    return any(random(inner) for body in node.bodies for inner in body.nodes)


def _apply(node: Node, weights: Sequence[Any], argument: Any, key: jax.Array | None) -> Any:
    """The value of one node."""
    if isinstance(node.op, Function):
        own = weights[0] if weights else ()
        if key is not None and node.op.sample is not None:
            return node.op.sample(own, argument, key)
        return node.op.call(own, argument)
    if isinstance(node.op, Rolled):
        return node.op.run(partial(run, node.bodies[0]), weights, argument)
    bodies, taken = [], 0
    for body in node.bodies:
        own = weights[taken : taken + len(body.slots)]
        bodies.append(partial(run, body, own, key=key))
        taken += len(own)
    return node.op.run(bodies, argument)
