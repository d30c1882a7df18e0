"""Exported programs: what ``jax.export`` wrote, in this process or another."""

import hashlib
from typing import Any

import jax
import jax.export

from lamda import errors, types
from lamda.function import Function
from lamda.types import Type


def is_exported(value: Any) -> bool:
    """Whether a value is an exported program, or the bytes of one."""
    return isinstance(value, jax.export.Exported | bytes | bytearray)


def lift_exported(
    value: Any, weights: bool, *, input: Type | None, name: str | None, where: str
) -> Function:
    """The lifted form of a program of ``(x)``, or of ``(weights, x)``: ``call(weights, x)``.

    Its type is that of the program. What is kept in a store or trained has a derivative: bytes
    need it in them, ``exported.serialize(vjp_order=1)``.
    """
    exported = _read(value)
    arguments, named = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    if named or len(arguments) != 1 + weights:
        given = "(weights, x)" if weights else "(x)"
        takes = f"{exported.fun_name} of {len(arguments) + len(named)} arguments"
        raise errors.SpecError(errors.NOT_CALLABLE.format(given=given, takes=takes))
    run = jax.jit(exported.call)

    def call(weights: Any, x: Any) -> Any:
        leaves = [*jax.tree.leaves(weights), *jax.tree.leaves(x)]
        positional, _ = jax.tree.unflatten(exported.in_tree, leaves)
        return run(*positional)

    module = hashlib.sha256(exported.mlir_module_serialized).hexdigest()
    called = name or exported.fun_name.replace("<lambda>", "f")
    return Function(
        call,
        key=("exported", module, exported.in_tree, exported.out_tree),
        name=called,
        where=where,
        input=types.typeof(arguments[-1]) if input is None else input,
    )


def _read(value: Any) -> jax.export.Exported:
    if isinstance(value, jax.export.Exported):
        return value
    try:
        return jax.export.deserialize(bytearray(value))
    except Exception as error:  # whatever the reader of flatbuffers trips over
        raise errors.SpecError(errors.BAD_EXPORTED.format(count=len(value), error=error)) from error
