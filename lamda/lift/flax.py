"""Flax modules: linen modules are lifted open, nnx modules with the weights they hold."""

import sys
from typing import Any

import jax

from lamda import errors
from lamda.function import Function
from lamda.types import Type


def is_module(value: Any) -> bool:
    """Whether a value is a Flax module, of either kind; Flax is not imported to find out."""
    return _is_linen(value) or _is_nnx(value)


def _is_linen(value: Any) -> bool:
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(value, linen.Module)


def _is_nnx(value: Any) -> bool:
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(value, nnx.Module)


def lift_module(
    module: Any, *, input: Type | None, name: str | None, where: str
) -> tuple[Function, Any]:
    """The lifted form of a module, and its weights where it holds them."""
    called = name or getattr(module, "name", None) or type(module).__name__
    if _is_linen(module):
        return _linen(module, input=input, name=called, where=where), None
    return _nnx(module, input=input, name=called, where=where)


def _linen(module: Any, *, input: Type | None, name: str, where: str) -> Function:
    def call(weights: Any, x: Any) -> Any:
        return module.apply({"params": weights}, x)

    def init(key: jax.Array, x: Any) -> Any:
        collections = module.init(key, x)
        extra = sorted(set(collections) - {"params"})
        if extra:
            raise errors.ImpureError(errors.FLAX_STATE.format(name=name, extra=", ".join(extra)))
        return dict(collections.get("params", {}))

    return Function(
        call, key=("linen", _Key(module)), name=name, where=where, input=input, init=init
    )


def _nnx(module: Any, *, input: Type | None, name: str, where: str) -> tuple[Function, Any]:
    from flax import nnx

    graph, params, rest = nnx.split(module, nnx.Param, ...)
    extra = sorted({type(variable).__name__ for _, variable in nnx.to_flat_state(rest)})
    if extra:
        raise errors.ImpureError(errors.FLAX_STATE.format(name=name, extra=", ".join(extra)))
    arrays, structure = jax.tree.flatten(params)
    paths = [tuple(map(str, path)) for path, _ in nnx.to_flat_state(params)]

    def call(weights: Any, x: Any) -> Any:
        leaves = [_at(weights, path) for path in paths]
        return nnx.merge(graph, jax.tree.unflatten(structure, leaves))(x)

    weights: dict[str, Any] = {}
    for path, array in zip(paths, arrays, strict=True):
        node = weights
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = array
    return Function(call, key=("nnx", graph), name=name, where=where, input=input), weights


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


class _Key:
    """A module as a key: hashable also where its attributes are not."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and (
            self.module is other.module or self.module == other.module
        )

    def __hash__(self) -> int:
        return hash(type(self.module))
