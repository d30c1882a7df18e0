"""Streams: models whose answer can be sent while it is computed, since they are loops of a step.

A scan needs no program of its own for this: its program for one element is its step, and

    scan(f)(s, xs + ys)  is  scan(f)(s', ys)  after  scan(f)(s, xs) = (s', ...)

An iteration needs the program of its body, and of its test where it has one.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lamda import types
from lamda.compile import sizes
from lamda.compile.program import Program
from lamda.compile.sizes import Given, Sizes
from lamda.kinds import Iterate, Scan, Until
from lamda.model import Model
from lamda.normal import Graph, Node, wires
from lamda.types import Type


class Stream(NamedTuple):
    """How a model streams: as a scan along an axis, or as an iteration."""

    axis: str | None
    """The named dimension along which it is a scan; ``None`` where it is an iteration."""
    steps: int | None
    """How many times an iteration goes round; ``None`` where a test ends it."""


def find(model: Model) -> Stream | None:
    """How a model streams; ``None`` where it does not.

    One streams that is, in normal form, nothing but one ``scan`` along a named axis, or one
    ``iterate``. So brackets, names and identities around it change nothing.
    """
    node = _only(model.program)
    if node is None:
        return None
    if isinstance(node.op, Scan):
        axis = _axis(node.type, node.gives)
        return None if axis is None else Stream(axis, None)
    if isinstance(node.op, Iterate | Until):
        return Stream(None, getattr(node.op, "count", None))
    return None


def resolve(model: Model, stream: Stream | None, batch: Given, given: Mapping[str, Given]) -> Sizes:
    """The sizes as :func:`lamda.compile.sizes.resolve` has them, and 1 for the axis of a scan.

    So every length can be cut in pieces that there are programs for; nothing is padded along it.
    """
    axis = None if stream is None else stream.axis
    if axis is None:
        return sizes.resolve(model, batch, given)
    default: dict[str, Given] = {axis: 1}
    if axis == sizes.batch_dimension(model.require_input()):
        default = {}  # it has that default already
    found = sizes.resolve(model, batch, default | {**given})
    return found | {axis: sorted({1, *found[axis]})}


def entry(
    stream: Stream, whole: Program, programs: Callable[[Program], list[dict[str, Any]]]
) -> dict[str, Any]:
    """What the manifest says of a stream; ``programs`` makes the PROGRAMs of one, at all sizes."""
    if stream.axis is not None:
        return {"scan": stream.axis}
    step, *test = map(programs, parts(whole))
    return {"iterate": {"n": stream.steps, "step": step, "done": test[0] if test else None}}


def parts(whole: Program) -> list[Program]:
    """The programs of the body and of the test of an iteration; of an iteration alone.

    Each takes all of the weights, as the whole does, and those that it does not need too.
    """
    node = _only(whole.graph)
    assert node is not None
    found, taken = [], 0
    for body in node.bodies:
        own = node.slots[taken : taken + len(body.slots)]
        found.append(Program(_inlined(whole.graph, body, own), whole.weights))
        taken += len(own)
    return found


def _only(graph: Graph) -> Node | None:
    """The node that a graph is, where it is nothing else."""
    match graph.nodes:
        case (node,):
            takes_all = node.argument == wires(graph.input, -1)
            return node if takes_all and graph.output == wires(node.gives, 0) else None
    return None


def _inlined(graph: Graph, body: Graph, slots: tuple[int, ...]) -> Graph:
    """The body with its weights at their places in those of the graph."""
    nodes = tuple(
        Node(n.op, tuple(slots[i] for i in n.slots), n.argument, n.type, n.gives, n.bodies)
        for n in body.nodes
    )
    return Graph(graph.input, nodes, body.output, graph.slots)


def _axis(input: Type, output: Type) -> str | None:
    """The name of the first axis of what is scanned, where it names nothing else."""
    assert isinstance(input, tuple) and isinstance(output, tuple)
    (state, xs), (_, ys) = input, output
    scanned = [leaf.shape for part in (xs, ys) for _, leaf in types.leaves(part)]
    axis = scanned[0][0]
    rest = [types.ArrayType("bool", shape[1:]) for shape in scanned]
    elsewhere = types.names((state, *rest))
    named = isinstance(axis, str) and axis.isidentifier()
    return str(axis) if named and axis not in elsewhere else None
