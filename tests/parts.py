"""Small parts that the tests compose."""

import jax
import jax.numpy as jnp

import lamda as lm


def dense_function(weights, x):
    return x @ weights["kernel"] + weights["bias"][None, :]


def dense(inputs: int, outputs: int, seed: int = 0, name: str = "dense", b: str = "b") -> lm.Model:
    """``x @ kernel + bias`` with random weights."""
    kernel = jax.random.normal(jax.random.key(seed), (inputs, outputs), jnp.float32)
    weights = {"bias": jnp.zeros(outputs, jnp.float32), "kernel": kernel}
    return lm.lift(dense_function, weights, input=f"float32[{b}, {inputs}]", name=name)


def rows(count: int, width: int, seed: int = 0) -> jax.Array:
    """Random inputs."""
    return jax.random.normal(jax.random.key(100 + seed), (count, width), jnp.float32)
