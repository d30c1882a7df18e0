"""Boxes: the program of a model as a picture shows it.

One box for each application, from the input to the outputs; what is shared is one box. Frozen
parts, parts to train and parts without weights are of three kinds. A part under a name is shown
with it, ``head: dense``; the box of a control holds the boxes of its bodies.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple
from typing import Any, NamedTuple

import jax

from lamda import types
from lamda.model import Model
from lamda.normal import Graph, Node, is_wire
from lamda.surgery.places import children
from lamda.term import Lift, Named, Slot, Term


class Box(NamedTuple):
    """One box: its name, the type it gives, its kind, the boxes it reads, and what is inside."""

    name: str
    type: str
    kind: str
    """``frozen``, ``trained``, ``none`` (no weights), or ``end`` (an input or an output)."""
    reads: tuple[int, ...]
    bodies: tuple[tuple["Box", ...], ...] = ()


def boxes(model: Model) -> tuple[Box, ...]:
    """The boxes of a model: its input, every application, its outputs."""
    names: dict[Slot, str] = {}
    for slot, name in _named(model.term, (), set()):
        names.setdefault(slot, name)
    return _boxes(model.program, names)


def _named(term: Term, around: tuple[str, ...], seen: set[int]) -> Iterator[tuple[Slot, str]]:
    """The names that people gave to what is around each part with weights."""
    if id(term) in seen:
        return
    seen.add(id(term))
    if isinstance(term, Lift) and term.slot is not None and around:
        yield term.slot, "/".join(around)
    inside = (*around, term.name) if isinstance(term, Named) and term.name else around
    for child in children(term):
        yield from _named(child, inside, seen)


def _boxes(graph: Graph, names: Mapping[Slot, str]) -> tuple[Box, ...]:
    made = [Box("input", types.show(graph.input), "end", ())]
    made += [_box(graph, node, names) for node in graph.nodes]
    if isinstance(graph.output, dict):
        ends = list(graph.output.items())
    elif isinstance(graph.output, tuple):
        ends = [(str(i), tree) for i, tree in enumerate(graph.output)]
    else:
        ends = [("output", graph.output)]
    return (*made, *(Box(name, "", "end", _reads(tree)) for name, tree in ends))


def _box(graph: Graph, node: Node, names: Mapping[Slot, str]) -> Box:
    slots = [graph.slots[place] for place in node.slots]
    kind = "none"
    if slots:
        kind = "frozen" if all(slot.frozen for slot in slots) else "trained"
    name = f"{node.op.name}{_parameters(node)}"
    if len(slots) == 1 and not node.bodies and slots[0] in names:
        around = names[slots[0]]
        name = around if around.split("/")[-1] == name else f"{around}: {name}"
    bodies = tuple(_boxes(body, names) for body in node.bodies)
    return Box(name, types.show(node.gives), kind, _reads(node.argument), bodies)


def _parameters(node: Node) -> str:
    """The parameters of a control, as in ``iterate(3)``."""
    values = astuple(node.op) if node.bodies else ()  # type: ignore[arg-type]
    return f"({', '.join(map(repr, values))})" if values else ""


def _reads(argument: Any) -> tuple[int, ...]:
    """The boxes that an argument comes from."""
    wires = jax.tree.leaves(argument, is_leaf=is_wire)
    return tuple(dict.fromkeys(wire.node + 1 for wire in wires))
