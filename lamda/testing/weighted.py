"""Models that have weights: laws of weights say nothing of others."""

from typing import Any

import jax
import jax.numpy as jnp
from hypothesis import strategies as st

import lamda as lm
from lamda.model import Model
from lamda.testing.draw import Draw


def weighted(draw: Draw, model: Model | None = None) -> Model:
    """A drawn model, or the given one; before a part with a weight, where it has none."""
    f = draw.model() if model is None else model
    if any(trained for _, _, trained in f.tensors()):
        return f
    return f >> lm.lift(louder, jnp.float32(draw(st.integers(-8, 8), "loud") / 4))


def louder(weight: jax.Array, x: Any) -> Any:
    """All numbers of ``x`` that are floating, times one."""

    def times(v: jax.Array) -> jax.Array:
        floating = jnp.issubdtype(v.dtype, jnp.floating)
        return v * weight.astype(v.dtype) if floating else v

    return jax.tree.map(times, x)
