"""Evaluation: a graph as a pure JAX function."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax

from lamda.function import Function
from lamda.kind import Kind
from lamda.normal import Graph, Node, is_wire
from lamda.rolled import Rolled


def run(
    graph: Graph, weights: Sequence[Any], x: Any, key: jax.Array | None = None, drawn: int = 0
) -> Any:
    """The value of a graph: every application once, in order.

    ``weights`` has one tree of arrays for each of ``graph.slots``. Pure JAX: any transformation
    may go over it.

    With a ``key``, functions that are random draw from it, each from the key folded with how many
    were drawn before it (``drawn`` before the first): a part that is shared draws once, and neither
    brackets nor marks that leave no trace change anything. The body of any other control draws the
    same in each of its rounds.
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
        own = [weights[slot] for slot in node.slots]
        values.append(jax.tree.leaves(_apply(node, own, at(node.argument), key, drawn)))
        drawn += 0 if key is None else draws(node)
    return at(graph.output)


def draws(node: Node) -> int:
    """How many keys a node takes: one for what is random, those of its body for a mark on it."""
    if isinstance(node.op, Function):
        return int(node.op.sample is not None)
    inside = sum(draws(inner) for body in node.bodies for inner in body.nodes)
    return inside if isinstance(node.op, Kind) and node.op.transparent else min(inside, 1)


def _apply(
    node: Node, weights: Sequence[Any], argument: Any, key: jax.Array | None, drawn: int
) -> Any:
    """The value of one node."""
    if isinstance(node.op, Function):
        own = weights[0] if weights else ()
        if key is not None and node.op.sample is not None:
            return node.op.sample(own, argument, jax.random.fold_in(key, drawn))
        return node.op.call(own, argument)
    if isinstance(node.op, Rolled):
        return node.op.run(partial(run, node.bodies[0]), weights, argument)
    if key is not None and draws(node) and not node.op.transparent:
        key, drawn = jax.random.fold_in(key, drawn), 0
    bodies, taken = [], 0
    for body in node.bodies:
        own = weights[taken : taken + len(body.slots)]
        bodies.append(partial(run, body, own, key=key, drawn=drawn))
        taken += len(own)
    return node.op.run(bodies, argument)
