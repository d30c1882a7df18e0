"""The programs of a model: one for each combination of sizes, with the weights as arguments.

A program depends on structure and types alone, so all that is made from one is remembered: a
successor is traced and compiled no second time.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax

from lamda import evaluate, program, types
from lamda.model import Model
from lamda.normal import Graph
from lamda.tensor import Tensor
from lamda.types import ArrayType


class Structure(NamedTuple):
    """A model without its numbers, at fixed sizes."""

    graph: Graph
    weights: tuple[tuple[Any, tuple[ArrayType, ...]], ...]
    """The tree and the types of the weights of each slot."""
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


def structure(model: Model, sizes: dict[str, int]) -> Structure:
    """The structure of a model at these sizes."""
    graph = model.program
    bound = [model.environment[slot] for slot in graph.slots]
    weights = tuple((w.structure, tuple(t.type for t in w.tensors)) for w in bound)
    return Structure(graph, weights, tuple(sizes.items()))


def tensors(model: Model) -> list[tuple[Tensor, bool]]:
    """The tensors of the program in the order of its arguments, and which are trained."""
    return [
        (tensor, tensor.floating and not slot.frozen)
        for slot in model.program.slots
        for tensor in model.environment[slot].tensors
    ]


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
