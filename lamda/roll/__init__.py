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

from collections.abc import Sequence
from typing import Any

import jax

from lamda.normal import Graph
from lamda.roll.build import Groups as Groups
from lamda.roll.build import rebuild
from lamda.roll.runs import Slotted as Slotted
from lamda.roll.runs import find

AT_LEAST = 6
"""Blocks that are worth a loop: it costs some run time, as each step takes its weights out of the
stack, and saves compile time in proportion to the blocks (benchmarks/rolling.py)."""


def roll(graph: Graph, kinds: Sequence[Slotted], at_least: int = AT_LEAST) -> tuple[Graph, Groups]:
    """The graph with every run of ``at_least`` equal blocks as one node, and its weights' slots.

    ``kinds`` has one entry for each slot. :func:`stack` makes the weights of the result. Functions
    are equal when they compute the same, whatever their derivatives: this is for programs that
    are not differentiated any more.
    """
    return rebuild(graph, find(graph, kinds, at_least))


def stack(groups: Groups, weights: Sequence[Any]) -> list[Any]:
    """The weights of a rolled graph, from those of each slot."""
    return [
        weights[group[0]]
        if len(group) == 1
        else jax.tree.map(lambda *each: jax.numpy.stack(each), *(weights[i] for i in group))
        for group in groups
    ]
