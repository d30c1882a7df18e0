"""Digests: what a program computes, as one hash.

It is taken over the dataflow of the program, not its text: calls are inlined, values are named by
how they are computed, and what no result depends on is left out. So it does not change with
variable names, helper functions, ``jit`` wrappers, names of dimensions, or line numbers, and a
function read back from its export has the digest of the original.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxlib.mlir import ir

from lamda.program import context, lowered

Hash = bytes


class Digest:
    """What a program computes: ``value``, and ``order``, the arguments by first use.

    ``size`` is that of the program, in bytes.
    """

    __slots__ = ("order", "size", "value")

    def __init__(self, value: str, order: tuple[int, ...], size: int) -> None:
        self.value = value
        self.order = order
        self.size = size


def digest(exported: jax.export.Exported, free: int) -> Digest:
    """The digest of an exported function, whose first ``free`` arguments are weights.

    Weights are numbered by first use, so renaming them changes nothing, and weights that
    nothing depends on do not count.
    """
    with context():
        walk = _Walk(ir.Module.parse(exported.mlir_module()), free)
        value = walk.digest()
    return Digest(value, tuple(walk.order), len(exported.mlir_module_serialized))


def of_function(function: Callable[..., Any], *structs: Any) -> str:
    """The digest of what a function computes at the given argument types; nothing is exported."""
    return _Walk(lowered(function, *structs), 0).digest()


class _Walk:
    """Hash-consing evaluation of a module: the value of every result is a hash."""

    def __init__(self, module: ir.Module, free: int) -> None:
        self.module = module  # what is read of it lives as long
        operations: Any = module.body.operations
        self.functions = {op.name.value: op for op in operations}
        self.free = free
        self.order: dict[int, int] = {}
        self.depth = 0

    def digest(self) -> str:
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
        return f"sha256:{value.hex()}"

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
