"""The programs of a model: one for each combination of sizes, with the weights as arguments."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax

from lamda import evaluate, program, types
from lamda.model import Model
from lamda.normal import Graph
from lamda.tensor import Tensor, Weights
from lamda.types import ArrayType


def tensors(model: Model) -> list[tuple[Tensor, bool]]:
    """The tensors of the program in the order of its arguments, and which are trained."""
    return [
        (tensor, tensor.floating and not slot.frozen)
        for slot in model.program.slots
        for tensor in model.environment[slot].tensors
    ]


def flat(graph: Graph, structures: Sequence[Any]) -> Callable[..., list[Any]]:
    """``main(*tensors, *input leaves)``, a list of the output leaves: a graph as one flat function."""
    counts = [structure.num_leaves for structure in structures]
    tree = jax.tree.structure(graph.input, is_leaf=types.is_array)

    def main(*arguments: Any) -> list[Any]:
        rest = iter(arguments)
        weights = [
            jax.tree.unflatten(structure, [next(rest) for _ in range(count)])
            for structure, count in zip(structures, counts, strict=True)
        ]
        return jax.tree.leaves(evaluate.run(graph, weights, jax.tree.unflatten(tree, list(rest))))

    return main


def arguments(model: Model, sizes: dict[str, int]) -> list[jax.ShapeDtypeStruct]:
    """The types of the arguments at these sizes."""
    inputs = types.substitute(model.program.input, sizes)
    leaves = [tensor.type for tensor, _ in tensors(model)]
    leaves += [leaf for _, leaf in types.leaves(inputs)]
    return [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]  # type: ignore[arg-type]


def stablehlo(model: Model, sizes: dict[str, int], platform: str = "cpu") -> bytes:
    """The portable StableHLO of a model at these sizes.

    It depends on the structure, the types and the platform; a successor has the same bytes.
    """
    graph = model.program
    bound: list[Weights] = [model.environment[slot] for slot in graph.slots]
    structures = tuple(weights.structure for weights in bound)
    kinds = tuple(tuple(t.type for t in weights.tensors) for weights in bound)
    return _stablehlo(graph, structures, kinds, tuple(sizes.items()), platform)


@lru_cache(maxsize=256)
def _stablehlo(
    graph: Graph,
    structures: tuple[Any, ...],
    kinds: tuple[tuple[ArrayType, ...], ...],
    sizes: tuple[tuple[str, int], ...],
    platform: str,
) -> bytes:
    inputs = [leaf for _, leaf in types.leaves(types.substitute(graph.input, dict(sizes)))]
    leaves = [leaf for kind in kinds for leaf in kind] + inputs
    structs = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]  # type: ignore[arg-type]
    exported = program.export(flat(graph, structures), *structs, platform=platform)
    return exported.mlir_module_serialized
