"""Observations: what of a model a law looks at, besides what it is equal to."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from lamda import errors
from lamda.kinds import Until
from lamda.model import Model
from lamda.surgery.places import places
from lamda.term import Control, lifts
from lamda.testing.law import broken


def equal(what: str, left: Any, right: Any) -> None:
    """Raises LawError unless two observations are equal."""
    if left != right:
        raise broken(f"{what}. {errors.SIDES.format(left=left, right=right)}")


def paths(model: Model) -> list[str]:
    """Where the weights of each lifted function are found; also of open models."""
    return ["/".join(path) for path, _ in lifts(model.term)]


def tensors(model: Model) -> list[tuple[str, str, bool]]:
    """Every tensor: its path, its digest, whether it is trained."""
    return [("/".join(path), t.digest, trained) for path, t, trained in model.tensors()]


def state(model: Model) -> tuple[Any, ...]:
    """All that composing and changing must leave as it was; nothing of it is remembered."""
    return model.term, str(model), str(model.input), str(model.output), tensors(model)


def trained(model: Model) -> list[str]:
    """The digests of the weights that are trained, in order of place."""
    return [digest for _, digest, trained in tensors(model) if trained]


def leaves(model: Model) -> int:
    """How many leaves it has as a pytree."""
    return len(jax.tree.leaves(model))


def differentiable(model: Model) -> bool:
    """Whether it has a derivative in reverse: it iterates nothing until something holds."""
    controls = (p.term for p in places(model.term, once=True) if isinstance(p.term, Control))
    return not any(isinstance(control.kind, Until) for control in controls)


def total(y: Any) -> jax.Array:
    """A number to differentiate: the sum of all that can be."""
    floating = [leaf for leaf in jax.tree.leaves(y) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum((jnp.sum(leaf.astype(jnp.float32)) for leaf in floating), jnp.float32(0))


def operations(function: Callable[..., Any], *arguments: Any) -> Counter[str]:
    """How often ``function`` does what, found by tracing it: nothing is compiled."""
    return Counter(_primitives(jax.make_jaxpr(function)(*arguments).jaxpr))


def _primitives(jaxpr: Any) -> Iterator[str]:
    for equation in jaxpr.eqns:
        inner = [jaxpr for value in equation.params.values() for jaxpr in _inner(value)]
        if not inner:
            yield equation.primitive.name
        for each in inner:
            yield from _primitives(each)


def _inner(value: Any) -> list[Any]:
    """The programs in a parameter of an operation."""
    values = value if isinstance(value, tuple | list) else [value]
    return [getattr(v, "jaxpr", v) for v in values if hasattr(getattr(v, "jaxpr", v), "eqns")]


@contextmanager
def traced() -> Iterator[list[str]]:
    """What JAX traces, lowers and compiles meanwhile."""
    seen: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            seen.append(event.rpartition("/")[2])

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
