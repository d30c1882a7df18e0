"""Quantising: weights as small whole numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import errors
from lamda.combinators.reweight import part, unpacked
from lamda.function import Function
from lamda.model import Model
from lamda.tensor import Tensor, Weights
from lamda.term import Lift, Slot, Term, Token, rewrite


def quantize(model: Model, bits: int = 8) -> Model:
    """``quantize(f)(x)`` is ``f(x)`` with every matrix ``w`` read as ``q * s``, ``q`` whole.

    A floating tensor of two or more dimensions is kept as int8 numbers ``q``, of ``bits`` 8 or 4,
    with one float32 scale ``s`` for each output channel: the last axis of every matrix, a matrix
    being the last two axes. ``s`` is the largest magnitude of the channel by 127 (by 7 for 4
    bits), so ``|w - q * s| <= s / 2``. Other tensors stay. Numbers of 4 bits take a byte each all
    the same. All weights are frozen; :func:`lora` trains beside them.

    The numbers stay int8 in stores and bundles, and are unpacked at each call. This saves bytes and
    not time: on a CPU, unpacking takes about 3 ns for each weight of each call.

    >>> import jax.numpy as jnp, lamda as lm
    >>> w = jnp.array([[1.27, -5.0], [0.5, 0.1]])
    >>> f = lm.lift(lambda w, x: x @ w, w, input="float32[b, 2]", name="f")
    >>> quantize(f).frozen["int8"].tolist(), quantize(f).frozen["scale"].round(4).tolist()
    ([[127, -127], [50, 3]], [0.009999999776482582, 0.039400000125169754])

    Laws: ``quantize(f >> g)`` is ``quantize(f) >> quantize(g)``; ``quantize(quantize(f))`` is
    ``quantize(f)``; tied parts stay tied. The function is another, so the address is another.

    Raises OpenError for open models, SpecError for other bits and for numbers that are not finite.

    Source: symmetric quantisation by channel, https://arxiv.org/abs/1806.08342, sections 2 and 3.
    """
    model.require_closed()
    if bits not in (4, 8):
        raise errors.SpecError(errors.QUANTIZE_BITS.format(given=bits))
    environment: dict[Slot, Weights] = {}
    made: dict[Token, Slot] = {}

    def change(term: Term) -> Term | None:
        if not isinstance(term, Lift) or term.slot is None:
            return None
        token, old = term.slot.token, model.environment[term.slot]
        matrices = tuple(_is_matrix(tensor) for tensor in old.tensors)
        if not any(matrices):
            environment[frozen := Slot(token, frozen=True)] = old
            return Lift(term.function, frozen)
        if token not in made:
            made[token] = Slot(Token(), frozen=True)
            environment[made[token]] = _packed(old, matrices, bits, term.function.name)
        found = part(term, model)
        assert found is not None
        return found.bound(unpacked(_unpack(old, matrices, found.name), made[token]))

    return model.derive(rewrite(model.term, change), environment)


def _is_matrix(tensor: Tensor) -> bool:
    return len(tensor.type.shape) >= 2 and bool(jnp.issubdtype(tensor.type.dtype, jnp.floating))


def _packed(weights: Weights, matrices: tuple[bool, ...], bits: int, name: str) -> Weights:
    leaves = [
        _pack(tensor.array, bits, name) if chosen else tensor
        for tensor, chosen in zip(weights.tensors, matrices, strict=True)
    ]
    return Weights.of(jax.tree.unflatten(weights.structure, leaves))


def _pack(array: Any, bits: int, name: str) -> dict[str, jax.Array]:
    largest = 2 ** (bits - 1) - 1
    w = np.asarray(array).astype(np.float32)
    if not np.isfinite(w).all():
        raise errors.SpecError(errors.QUANTIZE_FINITE.format(name=name))
    magnitude = np.abs(w).max(axis=-2, keepdims=True, initial=0)
    scale = np.where(magnitude > 0, magnitude / np.float32(largest), np.float32(1))
    numbers = np.clip(np.round(w / scale), -largest, largest).astype(np.int8)
    return {"int8": jnp.asarray(numbers), "scale": jnp.asarray(scale.reshape(-1))}


def _unpack(weights: Weights, matrices: tuple[bool, ...], name: str) -> Function:
    """The function that gives the weights as they were, from those that are packed."""
    structure, dtypes = weights.structure, tuple(t.type.dtype for t in weights.tensors)

    def call(packed: Any, _: Any) -> Any:
        leaves = [
            _unpacked(leaf, dtype) if chosen else leaf
            for leaf, dtype, chosen in zip(
                structure.flatten_up_to(packed), dtypes, matrices, strict=True
            )
        ]
        return jax.tree.unflatten(structure, leaves)

    key = ("quantize", structure, dtypes, matrices)
    return Function(call, key=key, name=f"weights of {name}", where="lamda", input=())


def _unpacked(leaf: dict[str, jax.Array], dtype: str) -> jax.Array:
    numbers, scale = leaf["int8"], leaf["scale"]
    shape = (*numbers.shape[:-2], 1, numbers.shape[-1])
    return (numbers.astype(scale.dtype) * scale.reshape(shape)).astype(dtype)
