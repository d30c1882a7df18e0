"""Layer-wise learning rates: an optimiser whose updates are scaled by the path of the weight."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from lamda import errors
from lamda.surgery.select import glob

if TYPE_CHECKING:
    from optax import GradientTransformation, GradientTransformationExtraArgs

Path = tuple[str, ...]


def rates(
    optimizer: "GradientTransformation", rates: Mapping[str, float]
) -> "GradientTransformationExtraArgs":
    """The optimiser whose updates of the weights at a path are ``rate`` times those of another.

    ``rates`` are patterns of paths in ``model.weights`` with a factor each, as in
    ``{"encoder/**": 0.1, "encoder/*/bias": 0.2}``: ``*`` stands for any part of a step and ``**``
    for any steps, as in :func:`lamda.select`. What matches a part holds of every weight in it;
    of several patterns the last that matches wins; what none matches has rate 1.

    It is an optax gradient transformation around any other, for :func:`lamda.fit` and for any
    tree of weights. The updates are scaled, not the gradients, so decay and momentum are too: it
    is the optimiser with that learning rate. At rate 0 a weight stays where it is, but its
    gradient is computed, kept by the optimiser, and counted where gradients are clipped together:
    :func:`lamda.freeze` is better, which leaves it out.

    >>> import jax.numpy as jnp, lamda as lm, optax
    >>> weights = {"encoder": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    >>> slow = rates(optax.sgd(1.0), {"encoder": 0.1})
    >>> updates, _ = slow.update(weights, slow.init(weights))
    >>> [round(float(u[0]), 3) for u in (updates["encoder"]["kernel"], updates["head"]["kernel"])]
    [-0.1, -1.0]

    Raises SpecError for a rate that is no finite number from 0, MissingError where a pattern
    matches no weight, once the weights are known.
    """
    import optax

    factors = {pattern: _factor(pattern, rate) for pattern, rate in _items(rates)}
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> Any:
        _require_all(factors, params)
        return inner.init(params)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, state = inner.update(updates, state, params, **extra)
        return jax.tree_util.tree_map_with_path(scaled, updates), state

    def scaled(path: Any, update: jax.Array) -> jax.Array:
        rate = _rate(factors, _names(path))
        if rate == 0:
            return jnp.zeros_like(update)  # of what is not finite too
        return update if rate == 1 else update * rate

    return optax.GradientTransformationExtraArgs(init, update)


def _items(rates: Any) -> list[tuple[Any, Any]]:
    if not isinstance(rates, Mapping) or not rates:
        raise errors.SpecError(errors.RATES.format(given=rates))
    return list(rates.items())


def _factor(pattern: Any, rate: Any) -> float:
    """The rate as a number. Raises SpecError."""
    known = isinstance(pattern, str) and isinstance(rate, int | float)
    if not known or not 0 <= rate < math.inf:
        raise errors.SpecError(errors.RATES.format(given={pattern: rate}))
    return float(rate)


def _rate(factors: Mapping[str, float], path: Path) -> float:
    """The factor of the last pattern that matches a path."""
    found = [factor for pattern, factor in factors.items() if _holds(pattern, path)]
    return found[-1] if found else 1.0


def _holds(pattern: str, path: Path) -> bool:
    """Whether a pattern matches a weight, or a part that it is in."""
    steps = pattern.split("/") if pattern else []
    return any(glob(steps, list(path[:end])) for end in range(len(path) + 1))


def _require_all(factors: Mapping[str, float], params: Any) -> None:
    """Raises MissingError where a pattern matches none of the weights."""
    paths = [_names(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    for pattern in factors:
        if not any(_holds(pattern, path) for path in paths):
            known = ", ".join("/".join(path) or "(the root)" for path in paths)
            text = errors.RATES_NOTHING.format(pattern=pattern, paths=known)
            raise errors.MissingError(text)


def _names(path: Any) -> Path:
    """The steps to a weight, as ``model.weights`` has them."""
    return tuple(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)
