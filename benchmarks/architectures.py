"""Five architectures, as compositions and as hand-written JAX of the same weights.

Each function of this module gives ``(model, function, weights, x)``: ``function(weights, x)`` is
what one writes without lamda, and ``model.apply`` of the same weights must compile to the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import lamda as lm


class Case(NamedTuple):
    """An architecture twice."""

    model: lm.Model
    function: Callable[[Any, Any], Any]
    """By hand, of ``weights`` and an input."""
    weights: Any
    x: Any


def _random(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32) / shape[0] ** 0.5


# --- the functions that both are made of ---


def dense(w, x):
    return x @ w["kernel"] + w["bias"]


def conv(kernel, x):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def norm(scale, x):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-6) * scale


def attention(w, x):
    q, k, v = (jnp.einsum("btw,whd->bthd", x, w[name]) for name in ("q", "k", "v"))
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * (q.shape[-1] ** -0.5)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
    return jnp.einsum("bqhd,hdw->bqw", mixed, w["out"])


def cell(w, pair):
    state, x = pair
    both = jnp.concatenate([state, x], -1)
    reset, update = jnp.split(jax.nn.sigmoid(both @ w["gates"]), 2, -1)
    candidate = jnp.tanh(jnp.concatenate([reset * state, x], -1) @ w["candidate"])
    new = (1 - update) * state + update * candidate
    return new, new


def _dense_weights(seed: int, inputs: int, outputs: int) -> dict[str, jax.Array]:
    return {"bias": jnp.zeros((1, outputs)), "kernel": _random(seed, inputs, outputs)}


def _attention_weights(seed: int, width: int, heads: int) -> dict[str, jax.Array]:
    apart = {
        n: _random(seed + i, width, heads, width // heads) for i, n in enumerate(("q", "k", "v"))
    }
    return {**apart, "out": _random(seed + 3, heads, width // heads, width)}


relu = lm.lift(jax.nn.relu)
gelu = lm.lift(jax.nn.gelu)


# --- the architectures ---


def mlp(width: int = 8, batch: int = 2) -> Case:
    """Three dense layers."""
    sizes = (width, 4 * width, 4 * width, width)
    weights = [_dense_weights(i, sizes[i], sizes[i + 1]) for i in range(3)]
    one, two, three = (
        lm.lift(dense, w, input=f"float32[b, {n}]") for w, n in zip(weights, sizes[:3], strict=True)
    )
    model = one >> relu >> two >> relu >> three

    def function(w: Any, x: Any) -> Any:
        one, two, three = w
        return dense(three, jax.nn.relu(dense(two, jax.nn.relu(dense(one, x)))))

    return Case(model, function, weights, _random(9, batch, width))


def residual_conv(width: int = 4, batch: int = 2, side: int = 8) -> Case:
    """A residual block of two convolutions."""
    weights = (
        _random(0, 3, 3, width, width), jnp.ones((1, 1, 1, width)), _random(1, 3, 3, width, width)
    )  # fmt: skip
    image = f"float32[b, h, w, {width}]"
    parts = zip((conv, norm, conv), weights, strict=True)
    one, scale, two = (lm.lift(f, w, input=image) for f, w in parts)
    model = lm.residual(one >> scale >> relu >> two) >> relu

    def function(w: Any, x: Any) -> Any:
        one, scale, two = w
        return jax.nn.relu(x + conv(two, jax.nn.relu(norm(scale, conv(one, x)))))

    return Case(model, function, weights, _random(9, batch, side, side, width))


def encoder_weights(seed: int, width: int, heads: int) -> dict[str, Any]:
    """The weights of one block of a transformer encoder."""
    return {
        "norm": jnp.ones((1, 1, width)),
        "attention": _attention_weights(seed, width, heads),
        "second": jnp.ones((1, 1, width)),
        "up": _dense3(_dense_weights(seed + 4, width, 4 * width)),
        "down": _dense3(_dense_weights(seed + 5, 4 * width, width)),
    }


def encoder_model(w: dict[str, Any]) -> lm.Model:
    """One block of a transformer encoder, of the usual parts."""
    width = w["norm"].shape[-1]
    row = f"float32[b, t, {width}]"
    attend = lm.lift(norm, w["norm"], input=row) >> lm.lift(attention, w["attention"], input=row)
    up = lm.lift(dense, w["up"], input=row)
    down = lm.lift(dense, w["down"], input=f"float32[b, t, {4 * width}]")
    change = lm.lift(norm, w["second"], input=row) >> up >> gelu >> down
    return lm.residual(attend) >> lm.residual(change)


def encoder_function(w: Any, x: Any) -> Any:
    """The same block by hand."""
    x = x + attention(w["attention"], norm(w["norm"], x))
    return x + dense(w["down"], jax.nn.gelu(dense(w["up"], norm(w["second"], x))))


def transformer(width: int = 8, heads: int = 2, blocks: int = 2, time: int = 4) -> Case:
    """Blocks of a transformer encoder, with weights of their own."""
    weights = [encoder_weights(10 * i, width, heads) for i in range(blocks)]
    model = lm.compose(*map(encoder_model, weights))

    def function(w: Any, x: Any) -> Any:
        for block in w:
            x = encoder_function(block, x)
        return x

    return Case(model, function, weights, _random(9, 2, time, width))


def experts(width: int = 8, count: int = 3, batch: int = 4) -> Case:
    """A dense mixture of experts."""
    weights = (
        _dense_weights(0, width, count),
        [_dense_weights(1 + i, width, width) for i in range(count)],
    )
    row = f"float32[b, {width}]"
    members = [lm.lift(dense, w, input=row) >> gelu for w in weights[1]]
    model = lm.mixture(lm.lift(dense, weights[0], input=row), members)

    def function(w: Any, x: Any) -> Any:
        shares = jax.nn.softmax(dense(w[0], x))
        results = [jax.nn.gelu(dense(each, x)) for each in w[1]]
        total = shares[:, :1] * results[0]
        for i in range(1, count):
            total = total + shares[:, i : i + 1] * results[i]
        return total

    return Case(model, function, weights, _random(9, batch, width))


def gru(width: int = 4, batch: int = 2, time: int = 5) -> Case:
    """A gated recurrent unit over time."""
    weights = {
        "gates": _random(0, 2 * width, 2 * width), "candidate": _random(1, 2 * width, width)
    }  # fmt: skip
    row = f"float32[b, {width}]"
    model = lm.scan(lm.lift(cell, weights, input=(row, row)))

    def function(w: Any, x: Any) -> Any:
        state, xs = x
        return jax.lax.scan(lambda s, x: cell(w, (s, x)), state, xs)

    x = (jnp.zeros((batch, width)), _random(9, time, batch, width))
    return Case(model, function, weights, x)


def _dense3(w: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """For rows in two axes: ranks are never promoted."""
    return {"bias": w["bias"][None], "kernel": w["kernel"]}


SMALL: dict[str, Callable[[], Case]] = {
    "MLP": mlp,
    "residual conv block": residual_conv,
    "transformer encoder": transformer,
    "mixture of experts": experts,
    "GRU over time": gru,
}

LARGE: dict[str, Callable[[], Case]] = {
    "MLP": lambda: mlp(256, 64),
    "residual conv block": lambda: residual_conv(32, 8, 32),
    "transformer encoder": lambda: transformer(128, 4, 4, 64),
    "mixture of experts": lambda: experts(256, 8, 128),
    "GRU over time": lambda: gru(128, 32, 64),
}
