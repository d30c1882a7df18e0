"""Projections out of tuples and dicts."""

from lamda.combinators.compose import compose
from lamda.errors import made_at
from lamda.model import Model
from lamda.term import Pick


def pick(*path: str | int) -> Model:
    """``pick("a")(x)`` is ``x["a"]``; ``pick("a", 0)`` is ``pick("a") >> pick(0)``.

    >>> import jax.numpy as jnp
    >>> pick("a", 0)({"a": (jnp.float32(1), jnp.float32(2))}).item()
    1.0
    """
    return compose(*(Model(Pick(key), {}, None, None, where=made_at()) for key in path))
