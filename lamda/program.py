"""Programs: portable StableHLO of a function, and what it computes as one digest.

The digest of a program is taken over its dataflow, not its text: calls are inlined, values are
named by how they are computed, and what no result depends on is left out. So it does not change
with variable names, helper functions, ``jit`` wrappers, names of dimensions, or line numbers, and
a function read back from its export has the digest of the original.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
from jax._src.interpreters.mlir import refine_polymorphic_shapes  # no public name
from jax.interpreters import mlir
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from jaxlib.mlir.passmanager import PassManager

Hash = bytes


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
    with _context():
        module = ir.Module.parse(exported.mlir_module())
    fixed = all(isinstance(n, int) for aval in exported.in_avals for n in aval.shape)
    if fixed and exported.uses_global_constants:
        module = _static(module)
    return dataclasses.replace(exported, mlir_module_serialized=portable(module))


def _static(module: ir.Module) -> ir.Module:
    """The module with static shapes inside, as its arguments have them.

    A polymorphic function that is called at fixed sizes has dynamic shapes inside. JAX refines
    them when it compiles; a compiler that is reached through PJRT does not take them.
    """
    with _context():
        return ir.Module.parse(str(refine_polymorphic_shapes(module)))


def portable(module: ir.Module) -> bytes:
    """The program without debug information, in the oldest version of StableHLO that can say it.

    Any compiler of that version or a later one reads it
    (https://openxla.org/stablehlo/compatibility).
    """
    with _context() as context:
        PassManager.parse("builtin.module(strip-debuginfo)").run(module.operation)
        major, latest, _ = map(int, stablehlo.get_current_version().split("."))
        quiet: Any = context.attach_diagnostic_handler(lambda _: True)
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


class Digest:
    """What a program computes: ``value``, and ``order``, the arguments by first use."""

    __slots__ = ("order", "value")

    def __init__(self, value: str, order: tuple[int, ...]) -> None:
        self.value = value
        self.order = order


def digest(exported: jax.export.Exported, free: int) -> Digest:
    """The digest of an exported function, whose first ``free`` arguments are weights.

    Weights are numbered by first use, so renaming them changes nothing, and weights that
    nothing depends on do not count.
    """
    with _context():
        module = ir.Module.parse(exported.mlir_module())
        return _Walk(module, free).digest()


@cache
def _context() -> ir.Context:
    return mlir.make_ir_context()


class _Walk:
    """Hash-consing evaluation of a module: the value of every result is a hash."""

    def __init__(self, module: ir.Module, free: int) -> None:
        operations: Any = module.body.operations
        self.functions = {op.name.value: op for op in operations}
        self.free = free
        self.order: dict[int, int] = {}
        self.depth = 0

    def digest(self) -> Digest:
        main = self.functions["main"]
        block = main.body.blocks[0]
        arguments = list(block.arguments)
        types = [str(a.type) for a in arguments]
        operands = [
            ("weight", i) if i < self.free else ("input", i - self.free)
            for i in range(len(arguments))
        ]
        results = self._block(block, operands, {})
        uses = [types[i] for i in self.order]
        value = _hash("function", *uses, *types[self.free :], *map(self._name, results))
        return Digest(f"sha256:{value.hex()}", tuple(self.order))

    def _name(self, value: Any) -> Any:
        """Weights are named when first used, in the order of use."""
        if isinstance(value, tuple) and value[0] == "weight":
            return f"weight{self.order.setdefault(value[1], len(self.order))}"
        return value if isinstance(value, bytes) else f"{value[0]}{value[1]}"

    def _block(self, block: Any, arguments: Sequence[Any], env: dict) -> list[Any]:
        env = env | dict(zip(block.arguments, arguments, strict=True))
        live = _live(block)
        for op in block.operations:
            operation = op.operation
            if operation.name in ("func.return", "stablehlo.return"):
                return [env[v] for v in operation.operands]
            if operation in live:
                results = self._results(operation, [env[v] for v in operation.operands], env)
                env.update(zip(operation.results, results, strict=True))
        return []

    def _results(self, op: Any, operands: list[Any], env: dict) -> list[Any]:
        if op.name == "func.call":
            callee = self.functions[ir.FlatSymbolRefAttr(op.attributes["callee"]).value]
            return self._block(callee.body.blocks[0], operands, {})
        named = [self._name(v) for v in operands]
        attributes = [f"{k}={op.attributes[k]}" for k in sorted(op.attributes) if k not in _NOISE]
        regions = [self._region(r, env) for r in op.regions]
        types = [str(r.type) for r in op.results]
        value = _hash(op.name, *attributes, "types", *types, "operands", *named, "in", *regions)
        return [_hash(value, str(i)) for i in range(len(types))]

    def _region(self, region: Any, env: dict) -> Hash:
        self.depth += 1
        try:
            block = region.blocks[0]
            bound = [("bound", f"{self.depth}.{i}") for i in range(len(block.arguments))]
            return _hash("region", *map(self._name, self._block(block, bound, env)))
        finally:
            self.depth -= 1


_NOISE = {"mhlo.frontend_attributes", "result_info"}


def _live(block: Any) -> set[Any]:
    """The operations of a block that its results depend on."""
    live: set[Any] = set()
    operations = [op.operation for op in block.operations]
    pending = [operations[-1]]
    own = set(operations)
    while pending:
        op = pending.pop()
        for value in _reads(op):
            owner = value.owner
            if not isinstance(owner, ir.Block) and owner in own and owner not in live:
                live.add(owner)
                pending.append(owner)
    return live


def _reads(op: Any) -> list[Any]:
    """Every value an operation reads, also from inside its regions."""
    values = list(op.operands)
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                values += _reads(inner.operation)
    return values


def _hash(*parts: str | Hash) -> Hash:
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else b"\0" + part
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.digest()
