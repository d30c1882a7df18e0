"""Plain functions: of ``x``, or of ``(weights, x)``."""

import importlib
import inspect
import operator
import sys
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from lamda import errors
from lamda.function import Function
from lamda.types import Type


def plain(
    function: Callable[..., Any],
    takes_weights: bool,
    *,
    input: Type | None,
    name: str | None,
    where: str,
) -> Function:
    """The lifted form of a Python function: ``call(weights, x)``.

    A function with a parameter ``key=None`` is random: it is called with a key while training,
    and without one otherwise.
    """
    call = function if takes_weights else _Unweighted(function)
    called = name or getattr(function, "__name__", type(function).__name__)
    return Function(
        call,
        key=("python", function, takes_weights),
        name="f" if called == "<lambda>" else called,
        where=where,
        input=input,
        sample=_Sampled(function, takes_weights) if is_random(function) else None,
        text=_text(function, weights=takes_weights, input=input, name=name),
    )


def python(
    path: str, *, weights: bool = False, input: Type | None = None, name: str | None = None
) -> Function:
    """The lifted form of the function at ``module:name``: what ``repr`` of it says.

    >>> python("jax.numpy:tanh")
    python('jax.numpy:tanh')

    Raises ImportError, AttributeError where there is no such function.
    """
    module, _, names = path.partition(":")
    function = operator.attrgetter(names)(importlib.import_module(module))
    return plain(function, weights, input=input, name=name, where=path)


def _text(function: Callable[..., Any], **given: Any) -> str | None:
    """The call of :func:`python` that makes it again, if it can be imported."""
    module = getattr(function, "__module__", None)
    names = getattr(function, "__qualname__", None)
    try:
        found = operator.attrgetter(str(names))(sys.modules[str(module)])
    except (AttributeError, KeyError):
        return None
    if found is not function or module == "__main__":
        return None
    options = [f"{key}={value!r}" for key, value in given.items() if value]
    return f"python({', '.join([repr(f'{module}:{names}'), *options])})"


def is_random(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter ``key`` that may be ``None``."""
    try:
        parameter = inspect.signature(function).parameters.get("key")
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    return parameter is not None and parameter.default is None


class _Sampled:
    """``sample(weights, x, key)`` for a function with a parameter ``key``."""

    def __init__(self, function: Callable[..., Any], takes_weights: bool) -> None:
        self.function = function
        self.takes_weights = takes_weights

    def __call__(self, weights: Any, x: Any, key: Any) -> Any:
        given = (weights, x) if self.takes_weights else (x,)
        return self.function(*given, key=key)


class _Unweighted:
    """``call(weights, x)`` for a function of ``x`` alone."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, weights: Any, x: Any) -> Any:
        return self.function(x)


def parameters(function: Callable[..., Any], weights: bool) -> bool:
    """Whether to call ``function(weights, x)``. Raises SpecError where it takes neither form."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without a signature
        return weights
    try:
        signature.bind(*((None, None) if weights else (None,)))
    except TypeError:
        takes = f"{getattr(function, '__name__', 'the function')}{signature}"
        given = "(weights, x)" if weights else "(x)"
        raise errors.SpecError(errors.NOT_CALLABLE.format(given=given, takes=takes)) from None
    return weights


def tidy(weights: Any, name: str, path: str = "") -> Any:
    """The weights with every leaf a JAX array and every list a tuple. Raises SpecError."""
    if isinstance(weights, dict) and all(isinstance(k, str) for k in weights):
        return {k: tidy(v, name, f"{path}[{k!r}]") for k, v in weights.items()}
    if isinstance(weights, tuple | list) and not hasattr(weights, "_fields"):
        return tuple(tidy(v, name, f"{path}[{i}]") for i, v in enumerate(weights))
    if hasattr(weights, "shape") and hasattr(weights, "dtype"):
        return jnp.asarray(weights)
    if isinstance(weights, bool | int | float | complex):
        return jnp.asarray(weights)
    at = path or "the root"
    raise errors.SpecError(errors.BAD_WEIGHTS.format(name=name, value=weights, path=at))
