"""The programs of a model: one for each combination of sizes, with the weights as arguments.

A program depends on structure and types alone, so all that is made from one is remembered: a
successor is traced and compiled no second time.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax

from lamda import evaluate, program, types
from lamda.function import Function
from lamda.model import Model
from lamda.normal import Graph
from lamda.roll import AT_LEAST, Groups, Slotted
from lamda.roll import roll as rolled
from lamda.tensor import Tensor, Weights
from lamda.term import Slot
from lamda.types import ArrayType

SAVES = 16 << 10
"""Bytes of program that rolling must save to be worth it."""


class Structure(NamedTuple):
    """A model without its numbers, at fixed sizes."""

    graph: Graph
    weights: tuple[tuple[Any, tuple[ArrayType, ...]], ...]
    """The tree and the types of each of its weights; of a rolled run they are stacked."""
    sizes: tuple[tuple[str, int], ...]

    def arguments(self) -> list[jax.ShapeDtypeStruct]:
        """The types of the tensors, in order."""
        return _structs([leaf for _, kinds in self.weights for leaf in kinds])

    def inputs(self) -> list[jax.ShapeDtypeStruct]:
        """The types of the leaves of the input, in order."""
        fixed = types.substitute(self.graph.input, dict(self.sizes))
        return _structs([leaf for _, leaf in types.leaves(fixed)])

    def main(self) -> Callable[..., list[Any]]:
        """``main(*tensors, *inputs)`` is the leaves of the output."""
        tree = jax.tree.structure(self.graph.input, is_leaf=types.is_array)

        def main(*arguments: Any) -> list[Any]:
            rest = iter(arguments)
            weights = [
                jax.tree.unflatten(structure, [next(rest) for _ in kinds])
                for structure, kinds in self.weights
            ]
            x = jax.tree.unflatten(tree, list(rest))
            return jax.tree.leaves(evaluate.run(self.graph, weights, x))

        return main


class Argument(NamedTuple):
    """An argument of a program: a tensor, or those of a rolled run, one for each block."""

    tensors: tuple[Tensor, ...]
    trained: bool

    @property
    def type(self) -> ArrayType:
        """The type of the tensor, or of all along a new first axis."""
        one = self.tensors[0].type
        count = len(self.tensors)
        return one if count == 1 else ArrayType(one.dtype, (count, *one.shape))


class Program(NamedTuple):
    """What is compiled of a model, at any sizes; and its weights, which are its arguments."""

    graph: Graph
    weights: tuple[tuple[Any, tuple[Argument, ...]], ...]
    """The tree and the leaves of each of its weights."""

    @property
    def arguments(self) -> list[Argument]:
        """The arguments, in order."""
        return [argument for _, leaves in self.weights for argument in leaves]

    def at(self, sizes: dict[str, int]) -> Structure:
        """The structure at these sizes."""
        kinds = tuple((tree, tuple(a.type for a in leaves)) for tree, leaves in self.weights)
        return Structure(self.graph, kinds, tuple(sizes.items()))


def of(model: Model, roll: bool | None = None) -> Program:
    """The program of a model.

    ``roll`` says whether runs of equal blocks become one scanned body: always (``True``), never
    (``False``), or where it is worth it (``None``): six blocks and more, where that makes the
    program shorter by 16 KiB. Compile time is saved in proportion to the program, while each step
    of a loop has to take its weights out of the stack: a few wide layers run faster unrolled.
    """
    graph = model.program
    bound = [model.environment[slot] for slot in graph.slots]
    groups: Groups = tuple((i,) for i in range(len(bound)))
    if roll is not False:
        kinds = [
            Slotted(slot.frozen, w.structure, tuple(t.type for t in w.tensors))
            for slot, w in zip(graph.slots, bound, strict=True)
        ]
        shorter, stacked = rolled(graph, kinds, 2 if roll else AT_LEAST)
        if roll or _size(graph, model) - _size(shorter, model) >= SAVES:
            graph, groups = shorter, stacked
    weights = tuple(
        (bound[group[0]].structure, _arguments(slot, [bound[i] for i in group]))
        for slot, group in zip(graph.slots, groups, strict=True)
    )
    return Program(graph, weights)


def _size(graph: Graph, model: Model) -> int:
    """The bytes of the programs of all functions in a graph, each as often as it is applied."""
    total = 0
    for node in graph.nodes:
        total += sum(_size(body, model) for body in node.bodies)
        if isinstance(node.op, Function):
            bound = [model.environment[graph.slots[place]] for place in node.slots]
            total += node.op.digest(bound[0].type if bound else (), node.type).size
    return total


def _arguments(slot: Slot, bound: list[Weights]) -> tuple[Argument, ...]:
    together = zip(*(w.tensors for w in bound), strict=True)
    return tuple(Argument(each, each[0].floating and not slot.frozen) for each in together)


@lru_cache(maxsize=256)
def stablehlo(made: Structure, platform: str = "cpu") -> bytes:
    """The portable StableHLO of a structure."""
    exported = program.export(made.main(), *made.arguments(), *made.inputs(), platform=platform)
    return exported.mlir_module_serialized


@lru_cache(maxsize=256)
def executable(made: Structure, device: Any) -> Any:
    """The structure compiled for a device of this process."""
    with jax.default_device(device):
        main = jax.jit(made.main(), keep_unused=True)
        return main.lower(*made.arguments(), *made.inputs()).compile()


def _structs(leaves: list[ArrayType]) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]  # type: ignore[arg-type]
