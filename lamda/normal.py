"""Normal form: a term at an input type, as a hash-consed graph of applications.

Terms form the free cartesian category over lifted functions, and interpreting a term on wires
instead of arrays computes its normal form: composition is substitution, so brackets and
identities vanish; tuples and dicts are trees of wires, so the product laws hold by construction;
an application that exists already is found and not made again, so what is shared runs once; and
what no output depends on is dropped. This is normalisation by evaluation.

What counts as the same weights is the caller's choice (``same``), and gives the readings of a
term: by variable and by content of what is frozen, the *program*; by content alone, the *address*.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import jax

from lamda import types
from lamda.check import infer
from lamda.function import Function
from lamda.kind import Kind
from lamda.rolled import Rolled
from lamda.term import Control, Lift, Slot, Term, interpret
from lamda.types import Type


@dataclass(frozen=True, slots=True)
class Wire:
    """One array: leaf ``leaf`` of what ``node`` gives; node -1 is the input."""

    node: int
    leaf: int


@dataclass(frozen=True, slots=True)
class Node:
    """One application: of a function to weights and an argument, or of a control to an argument.

    ``slots`` are places in the graph's slots: of the weights of a function (one, or none), or of
    all that the bodies of a control read, body after body.
    """

    op: Function | Kind | Rolled
    slots: tuple[int, ...]
    argument: Any
    type: Type = field(compare=False)
    """The type of the argument."""
    gives: Type = field(compare=False)
    """The type of the result."""
    bodies: tuple["Graph", ...] = ()


@dataclass(frozen=True)
class Graph:
    """Applications in an order in which they can run, and what comes out.

    Graphs are equal when they are the same program: which slots they were made of does not count.
    """

    input: Type
    nodes: tuple[Node, ...]
    output: Any
    slots: tuple[Slot, ...] = field(compare=False)

    def _key(self) -> Hashable:
        nodes = [(n.op, n.slots, _flat(n.argument), n.bodies) for n in self.nodes]
        return types.plain(self.input), tuple(nodes), _flat(self.output)

    @property
    def gives(self) -> Type:
        """The type of the output."""
        leaves = {-1: self.input} | {i: node.gives for i, node in enumerate(self.nodes)}
        kinds = {i: [leaf for _, leaf in types.leaves(t)] for i, t in leaves.items()}
        return jax.tree.map(lambda w: kinds[w.node][w.leaf], self.output, is_leaf=is_wire)

    def __hash__(self) -> int:
        if "_hash" not in self.__dict__:
            object.__setattr__(self, "_hash", hash(self._key()))
        return self.__dict__["_hash"]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self is other or (hash(self) == hash(other) and self._key() == other._key())


def is_wire(value: Any) -> bool:
    """Whether a value is a leaf of a tree of wires."""
    return isinstance(value, Wire)


def _map(function: Callable[[Wire], Any], tree: Any) -> Any:
    """The tree with ``function(wire)`` for every wire; most arguments are one wire."""
    return function(tree) if is_wire(tree) else jax.tree.map(function, tree, is_leaf=is_wire)


def _flat(tree: Any) -> Hashable:
    if is_wire(tree):
        return tree
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_wire)
    return tuple(leaves), structure


def wires(type: Type, node: int) -> Any:
    """The tree of wires that stands for a value of this type coming out of ``node``."""
    if types.is_array(type):
        return Wire(node, 0)
    leaves, structure = jax.tree.flatten(type, is_leaf=types.is_array)
    return jax.tree.unflatten(structure, [Wire(node, i) for i in range(len(leaves))])


def normalise(
    term: Term,
    input: Type,
    same: Callable[[Slot], Hashable],
    weights: Callable[[Lift, Type], Type],
) -> Graph:
    """The normal form of a term whose input has the type ``input``.

    ``same(slot)`` says which weights are one; ``weights(lift, input)`` is their type. Linear in
    the number of applications.
    """
    made: dict[Hashable, Any] = {}
    found: list[_Found] = []
    kinds: list[list[types.ArrayType]] = []
    memo: dict[Hashable, Type] = {}
    same = cache(same)

    def type_of(argument: Any) -> Type:
        return _map(lambda w: inputs[w.leaf] if w.node < 0 else kinds[w.node][w.leaf], argument)

    def apply(leaf: Lift | Control, argument: Any) -> Any:
        new = lift(leaf, argument) if isinstance(leaf, Lift) else control(leaf, argument)
        key = (new.op, new.bodies, tuple(map(same, new.slots)), _flat(argument))
        if key not in made:
            made[key] = wires(new.gives, len(found))
            found.append(new)
            kinds.append([leaf for _, leaf in types.leaves(new.gives)])
        return made[key]

    def lift(leaf: Lift, argument: Any) -> _Found:
        type = type_of(argument)
        slots = () if leaf.slot is None else (leaf.slot,)
        typed = (leaf.function, types.plain(weights(leaf, type)), types.plain(type))
        if typed not in memo:
            memo[typed] = infer(leaf, type, weights).output
        return _Found(leaf.function, slots, argument, type, memo[typed])

    def control(leaf: Control, argument: Any) -> _Found:
        type = type_of(argument)
        taken = leaf.kind.inputs(type, len(leaf.bodies))
        bodies = tuple(
            normalise(body, each, same, weights)
            for body, each in zip(leaf.bodies, taken, strict=True)
        )
        slots = tuple(slot for body in bodies for slot in body.slots)
        gives = leaf.kind.output(type, [body.gives for body in bodies])
        return _Found(leaf.kind, slots, argument, type, gives, bodies)

    inputs = [leaf for _, leaf in types.leaves(input)]
    output = interpret(term, apply, wires(input, -1), _flat)
    return _prune(input, found, output, same)


class _Found(NamedTuple):
    """A node that knows its slots themselves, not their places."""

    op: Function | Kind
    slots: tuple[Slot, ...]
    argument: Any
    type: Type
    gives: Type
    bodies: tuple[Graph, ...] = ()


def _prune(
    input: Type,
    found: list[_Found],
    output: Any,
    same: Callable[[Slot], Hashable],
) -> Graph:
    """What the output depends on, in the order in which the output asks for it."""
    order: dict[int, int] = {}
    for root in jax.tree.leaves(output, is_leaf=is_wire):
        pending = [root.node]
        while pending:
            node = pending[-1]
            needs = [] if node < 0 or node in order else _needs(found[node].argument, order)
            if needs:
                pending += reversed(needs)
            else:
                pending.pop()
                if node >= 0:
                    order.setdefault(node, len(order))
    slots: dict[Hashable, tuple[int, Slot]] = {}

    def moved(tree: Any) -> Any:
        return _map(lambda w: w if w.node < 0 else Wire(order[w.node], w.leaf), tree)

    nodes = []
    for index in order:
        op, owned, argument, type, gives, bodies = found[index]
        places = tuple(slots.setdefault(same(s), (len(slots), s))[0] for s in owned)
        nodes.append(Node(op, places, moved(argument), type, gives, bodies))
    return Graph(input, tuple(nodes), moved(output), tuple(s for _, s in slots.values()))


def _needs(argument: Any, order: dict[int, int]) -> list[int]:
    leaves = jax.tree.leaves(argument, is_leaf=is_wire)
    return list(dict.fromkeys(w.node for w in leaves if w.node >= 0 and w.node not in order))
