"""Casting: another precision inside, the same types outside."""

from typing import Any

import jax
import jax.numpy as jnp

from lamda import check, errors
from lamda.function import Function
from lamda.model import Model
from lamda.tensor import Tensor, Weights
from lamda.term import Lift, Slot, Term, Token, rewrite


def cast(model: Model, dtype: Any) -> Model:
    """``cast(f, d)(x)`` is ``f(x)`` computed in ``d``: ``d`` inside, the same types outside.

    ``dtype`` is a floating dtype: ``jnp.bfloat16``, ``"float16"``. Floating weights are kept in it.
    Every part takes what it took and gives what it gave: its floating inputs are converted to
    ``dtype``, it runs in that, and its outputs are converted back. Between two parts the
    conversions there and back are exact, and XLA removes them. Whole numbers and truth values are
    left alone, named dimensions stay, and what is frozen stays frozen.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda w, x: x * w, jnp.float32(1.001), input="float32[b]", name="f")
    >>> half = cast(f, jnp.bfloat16)
    >>> half, half.weights.dtype.name, half(jnp.ones(1)).tolist()
    (<f: float32[b] -> float32[b]>, 'bfloat16', [1.0])
    >>> cast(f, jnp.float32).address == f.address
    True

    Laws: ``cast(f >> g, d)`` is ``cast(f, d) >> cast(g, d)``; ``cast(f, d)`` is ``f`` where ``f``
    is in ``d`` throughout; tied parts stay tied.

    Raises OpenError for open models, SpecError for what is no floating dtype, or where a part does
    not run in it, as a program that was read from a store does not.
    """
    model.require_closed()
    wanted = _floating_dtype(dtype)
    environment: dict[Slot, Weights] = {}
    tokens: dict[Token, Token] = {}

    def change(term: Term) -> Term | None:
        if not isinstance(term, Lift):
            return None
        if term.slot is None:
            return Lift(_function(term.function, wanted, ()))
        old = model.environment[term.slot]
        new = Weights(old.structure, tuple(_tensor(t, wanted) for t in old.tensors))
        same = new.tensors == old.tensors
        token = term.slot.token if same else tokens.setdefault(term.slot.token, Token())
        environment[slot := Slot(token, term.slot.frozen)] = new
        dtypes = tuple(tensor.type.dtype for tensor in old.tensors)
        return Lift(_function(term.function, wanted, dtypes), slot)

    new = model.derive(rewrite(model.term, change), environment)
    if model.input is not None:
        try:
            check.infer(new.term, model.input, new.weights_type)
        except errors.MismatchError as error:
            text = errors.CAST_FIXED.format(name=model, dtype=wanted, error=error)
            raise errors.SpecError(text) from error
    return new


def _floating_dtype(dtype: Any) -> str:
    try:
        wanted = None if dtype is None else jnp.dtype(dtype)
    except TypeError:
        wanted = None
    here = wanted is not None and jax.dtypes.canonicalize_dtype(wanted) == wanted
    if wanted is None or not here or not jnp.issubdtype(wanted, jnp.floating):
        raise errors.SpecError(errors.CAST_DTYPE.format(given=dtype))
    return wanted.name


def _tensor(tensor: Tensor, dtype: str) -> Tensor:
    if not _is_floating(tensor.array) or tensor.type.dtype == dtype:
        return tensor
    return Tensor(jnp.asarray(tensor.array).astype(dtype))


def _function(function: Function, dtype: str, weights: tuple[str, ...]) -> Function:
    if isinstance(function.call, _Cast):  # what was cast before is cast anew
        return _function(function.call.lifted, dtype, function.call.weights)
    return Function(
        _Cast(function, dtype, weights),
        key=("cast", function.key, dtype, weights),
        name=function.name,
        where=function.where,
        input=function.input,
    )


class _Cast:
    """``call(weights, x)`` in another dtype, giving the types that it would give in its own."""

    def __init__(self, function: Function, dtype: str, weights: tuple[str, ...]) -> None:
        self.lifted = function
        self.call = function.call
        self.function = getattr(function.call, "function", function.call)
        self.dtype = dtype
        self.weights = weights
        """The dtypes that the weights had."""

    def __call__(self, weights: Any, x: Any) -> Any:
        leaves, structure = jax.tree.flatten(weights)
        own = [
            jax.ShapeDtypeStruct(leaf.shape, dtype)
            for leaf, dtype in zip(leaves, self.weights, strict=True)
        ]
        given = jax.eval_shape(self.call, jax.tree.unflatten(structure, own), x)
        result = self.call(weights, jax.tree.map(self._inside, x))
        return jax.tree.map(lambda value, like: value.astype(like.dtype), result, given)

    def _inside(self, leaf: Any) -> Any:
        return leaf.astype(self.dtype) if _is_floating(leaf) else leaf


def _is_floating(array: Any) -> bool:
    return bool(jnp.issubdtype(array.dtype, jnp.floating))
