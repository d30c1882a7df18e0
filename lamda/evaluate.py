"""Evaluation: a graph as a pure JAX function."""

from collections.abc import Sequence
from typing import Any

import jax

from lamda.normal import Graph, is_wire


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
        tensors = () if node.weights is None else weights[node.weights]
        values.append(jax.tree.leaves(node.function.call(tensors, at(node.argument))))
    return at(graph.output)
