"""Functions: what is lifted, with its types, its weights' type and its program."""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from lamda import errors, program, purity, types
from lamda.digest import Digest, digest
from lamda.tensor import Weights
from lamda.types import Type


class Function:
    """A pure function ``call(weights, x) -> y``, with what is known of it.

    Two functions are equal when their ``key`` and their declared input are; equal functions
    compute the same. ``input`` is ``None`` where the function takes what it is given.
    ``init(key, x)`` makes its weights, for functions that are lifted open.
    ``text`` is Python that makes it again, where there is some: its ``repr``.
    ``sample(weights, x, key)`` is its reading with a random key, for functions that have one.
    ``stored()`` is its serialised program, at the type it declares, where it was read from one.
    """

    __slots__ = (
        "_identity",
        "_memo",
        "call",
        "init",
        "input",
        "key",
        "name",
        "sample",
        "stored",
        "text",
        "where",
    )

    def __init__(
        self,
        call: Callable[[Any, Any], Any],
        *,
        key: Hashable,
        name: str,
        where: str,
        input: Type | None = None,
        init: Callable[[jax.Array, Any], Any] | None = None,
        sample: Callable[[Any, Any, jax.Array], Any] | None = None,
        text: str | None = None,
        stored: Callable[[], bytes] | None = None,
    ) -> None:
        self.call = call
        self.text = text
        self.sample = sample
        self.stored = stored
        self.key = key
        self.name = name
        self.where = where
        self.input = input
        self.init = init
        self._identity = key, None if input is None else types.canonical(input)
        self._memo: dict[Any, Any] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Function):
            return NotImplemented
        return self is other or self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return self.text or f"<function {self.name}: {types.show(self.input)}>"

    @property
    def known(self) -> dict[Any, Any]:
        """What tracing it has told, by types."""
        return self._memo

    def share(self, known: dict[Any, Any]) -> None:
        """Share what tracing tells with the functions that compute the same."""
        self._memo = known

    def output(self, weights: Type, input: Type) -> Type:
        """The type of ``call(weights, x)`` for ``x`` of type ``input``; nothing is computed.

        Raises MismatchError where it does not run on it, ImpureError where it is not pure.
        """
        found = self.trace(weights, input)
        if found.captured and self.input is None:
            (array, *_) = found.captured.values()
            type = types.show(types.typeof(array))
            text = errors.CAPTURED_UNTYPED.format(name=self.name, type=type, at=self.where)
            raise errors.ImpureError(text)
        return self._typeof(found.output)

    def trace(self, weights: Type, input: Type) -> purity.Trace:
        """What tracing the function at these types tells; it is certified pure."""
        at = ("trace", types.plain(weights), types.plain(input))
        if at not in self._memo:
            scope = jax.export.SymbolicScope()
            structs = types.structs(weights, scope), types.structs(input, scope)
            named = {"name": self.name, "where": self.where}
            self._memo[at] = self._run(lambda: purity.trace(self.call, *structs, **named), input)
        return self._memo[at]

    def weights(self, input: Type) -> Type:
        """The type of the weights that ``init`` would make for an input of this type."""
        if self.init is None:
            return ()
        at = ("weights", types.plain(input))
        if at not in self._memo:
            key = jax.eval_shape(lambda: jax.random.key(0))
            init = self.init
            made = self._run(lambda: jax.eval_shape(init, key, types.structs(input)), input)
            self._memo[at] = types.typeof(made)
        return self._memo[at]

    def initialise(self, key: jax.Array, input: Type) -> Weights:
        """Weights for an input of this type, all of whose dimensions are numbers."""
        assert self.init is not None
        if "init" not in self._memo:
            self._memo["init"] = jax.jit(self.init)
        zeros = types.transform(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), input)
        return Weights.of(self._run(lambda: self._memo["init"](key, zeros), input))

    def _run(self, run: Callable[[], Any], input: Type) -> Any:
        """``run()`` under strict promotion of dtypes; an error says which part failed."""
        try:
            with jax.numpy_dtype_promotion("strict"):
                return run()
        except errors.LamdaError:
            raise
        except Exception as error:
            text = str(error).strip().split("\n")[0][:300]
            said = f"{type(error).__name__}: {text}"
            raise errors.MismatchError(
                errors.UNTRACEABLE.format(
                    name=self.name, type=types.show(input), error=said, at=self.where
                )
            ) from error

    def _typeof(self, value: Any) -> Type:
        try:
            return types.typeof(value)
        except errors.SpecError:
            kinds = {
                type(leaf).__name__
                for leaf in jax.tree.leaves(value, is_leaf=lambda v: not _is_tree(v))
                if not hasattr(leaf, "shape")
            }
            raise errors.SpecError(
                errors.BAD_NODE.format(
                    what="the output", name=self.name, kind=" or ".join(sorted(kinds))
                )
            ) from None

    def export(self, weights: Type, input: Type) -> jax.export.Exported:
        """The StableHLO of ``call`` on flat weights: ``(list of arrays, x) -> y``."""
        return _export(self, types.flat(weights), types.flat(input))

    def serialise(self, weights: Type, input: Type) -> bytes:
        """The same with its derivative, as a store keeps it."""
        if self.stored is not None:
            return self.stored()
        return _serialised(self, types.flat(weights), types.flat(input))

    def digest(self, weights: Type, input: Type) -> Digest:
        """What the function computes, at the type it declares or else at ``input``."""
        input = self.input if self.input is not None else input
        numbered = {name: f"d{i}" for i, name in enumerate(types.names(input))}
        return _digest(self, types.flat(weights), types.flat(types.substitute(input, numbered)))


@lru_cache(maxsize=1024)
def _export(function: Function, weights: types.Flat, input: types.Flat) -> jax.export.Exported:
    """As :meth:`Function.export`; equal functions share it, wherever they were lifted."""
    structure, flat = weights

    def call(leaves: list[Any], x: Any) -> Any:
        return function.call(jax.tree.unflatten(structure, leaves), x)

    scope = jax.export.SymbolicScope()
    type = jax.tree.unflatten(*input)
    arguments = list(types.structs(flat, scope)), types.structs(type, scope)
    return function._run(lambda: program.export(call, *arguments), type)


@lru_cache(maxsize=1024)
def _serialised(function: Function, weights: types.Flat, input: types.Flat) -> bytes:
    return program.serialise(_export(function, weights, input))


@lru_cache(maxsize=1024)
def _digest(function: Function, weights: types.Flat, input: types.Flat) -> Digest:
    return digest(_export(function, weights, input), len(weights[1]))


def _is_tree(value: Any) -> bool:
    return isinstance(value, dict | list) or (
        isinstance(value, tuple) and not hasattr(value, "_fields")
    )
