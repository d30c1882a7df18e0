"""Addresses: the SHA-256 of a normal form and its weights, over canonical msgpack.

The address is the function: two compositions have one address exactly when the laws prove them
equal. Names, brackets, sharing, freezing and lineage leave no trace in it; a bit of a weight, a
dtype, a constant or the order of outputs does.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgpack

from lamda import types
from lamda.function import Function
from lamda.kind import Kind
from lamda.normal import Graph, Node, Wire
from lamda.types import Type

VERSION = 1
"""The hashing version: part of every hash, and changed only with a note in CHANGELOG.md."""


def sha256(value: Any) -> str:
    """``sha256:...`` of a value made of None, bool, int, str, bytes, tuples and lists."""
    packed: bytes = msgpack.packb([VERSION, value], use_bin_type=True)  # type: ignore[assignment]
    return f"sha256:{hashlib.sha256(packed).hexdigest()}"


def address(
    graph: Graph, weights: Callable[[int], Type], digests: Callable[[int], Sequence[str]]
) -> str:
    """The address of a graph whose slot ``i`` has tensors of these types and digests.

    Each application hashes what it computes, the tensors it reads in order of use, and the
    hashes of what it is applied to; the root hashes the input type and the output.
    """
    hashes: list[str] = []
    canonical = dict(zip(names := types.names(graph.input), _numbered(names), strict=True))

    def at(tree: Any) -> Any:
        # Trees as lists that say what they are, so that none can be mistaken for another.
        if isinstance(tree, Wire):
            return f"input {tree.leaf}" if tree.node < 0 else f"{hashes[tree.node]} {tree.leaf}"
        if isinstance(tree, dict):
            return ["dict", *([key, at(tree[key])] for key in sorted(tree))]
        return ["tuple", *map(at, tree)]

    def applied(node: Node) -> list[Any]:
        if isinstance(node.op, Function):
            slot: Type = weights(node.slots[0]) if node.slots else ()
            program = node.op.digest(slot, node.type)
            tensors = digests(node.slots[0]) if node.slots else ()
            return ["apply", program.value, [tensors[i] for i in program.order]]
        assert isinstance(node.op, Kind)  # what is rolled is no normal form
        return ["control", list(node.op.key), list(bodies(node))]

    def bodies(node: Node) -> Iterator[str]:
        taken = 0
        for body in node.bodies:
            places = node.slots[taken : taken + len(body.slots)]
            taken += len(places)
            yield address(
                body, lambda i, p=places: weights(p[i]), lambda i, p=places: digests(p[i])
            )

    for node in graph.nodes:
        type = types.plain(types.substitute(node.type, canonical))
        hashes.append(sha256([*applied(node), type, at(node.argument)]))
    return sha256(["model", types.canonical(graph.input), at(graph.output)])


def _at(function: Callable[[int], Any], places: Sequence[int]) -> Callable[[int], Any]:
    """``function`` of the place that a body's slot has in the whole."""
    return lambda i: function(places[i])


def _numbered(names: list[str]) -> list[str]:
    return [f"d{i}" for i in range(len(names))]
