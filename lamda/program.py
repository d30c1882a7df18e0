"""Programs: portable StableHLO of a function."""

import contextlib
import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
from jax._src.interpreters.mlir import refine_polymorphic_shapes  # no public name
from jax.interpreters import mlir
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from jaxlib.mlir.passmanager import PassManager


def export(
    function: Callable[..., Any], *structs: Any, platform: str = "cpu"
) -> jax.export.Exported:
    """The StableHLO of ``function`` at the given argument types, for one platform.

    Arguments that the function ignores stay arguments. Nothing in it tells where it was made:
    same function, same bytes.
    """
    jitted = jax.jit(function, keep_unused=True)
    # What is exported for the CPU and kept in a store must be allowed to run elsewhere.
    safe = [jax.export.DisabledSafetyCheck.platform()]
    exported = jax.export.export(jitted, platforms=[platform], disabled_checks=safe)(*structs)
    with context():
        module = ir.Module.parse(exported.mlir_module())
    fixed = all(isinstance(n, int) for aval in exported.in_avals for n in aval.shape)
    if fixed and exported.uses_global_constants:
        module = _static(module)
    return dataclasses.replace(exported, mlir_module_serialized=portable(module))


def lowered(function: Callable[..., Any], *structs: Any) -> ir.Module:
    """The StableHLO of ``function`` at fixed argument types, as it is before it is exported."""
    found: Any = jax.jit(function, keep_unused=True).lower(*structs).compiler_ir("stablehlo")
    return found


def _static(module: ir.Module) -> ir.Module:
    """The module with static shapes inside, as its arguments have them.

    A polymorphic function that is called at fixed sizes has dynamic shapes inside. JAX refines
    them when it compiles; a compiler that is reached through PJRT does not take them.
    """
    with context():
        return ir.Module.parse(str(refine_polymorphic_shapes(module)))


def portable(module: ir.Module) -> bytes:
    """The program without debug information, in the oldest version of StableHLO that can say it.

    Any compiler of that version or a later one reads it
    (https://openxla.org/stablehlo/compatibility).
    """
    with context() as here:
        PassManager.parse("builtin.module(strip-debuginfo)").run(module.operation)
        major, latest, _ = map(int, stablehlo.get_current_version().split("."))
        quiet: Any = here.attach_diagnostic_handler(lambda _: True)
        try:
            for minor in range(latest):
                with contextlib.suppress(ValueError):
                    return stablehlo.serialize_portable_artifact(module, f"{major}.{minor}.0")
        finally:
            quiet.detach()
        return stablehlo.serialize_portable_artifact(module, stablehlo.get_current_version())


def serialise(exported: jax.export.Exported) -> bytes:
    """The program with its derivative, as ``jax.export.deserialize`` reads it."""
    option = "jax_traceback_in_locations_limit"
    limit = getattr(jax.config, option)
    jax.config.update(option, 0)
    try:
        return bytes(exported.serialize(vjp_order=1))
    finally:
        jax.config.update(option, limit)


@cache
def context() -> ir.Context:
    """Where modules are read; MLIR wants one."""
    return mlir.make_ir_context()
