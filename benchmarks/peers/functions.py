"""The models in plain JAX: `function(weights, x)`. Imports neither lamda nor serve."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def dense(weights: Any, x: jax.Array) -> jax.Array:
    """One of the eight layers."""
    return jax.nn.relu(x @ weights["kernel"] + weights["bias"][None])


def mlp(weights: Any, x: jax.Array) -> jax.Array:
    """float32[b, 512] -> float32[b, 512]."""
    for name in sorted(weights):
        x = dense(weights[name], x)
    return x


def minilm(weights: Any, x: Any) -> jax.Array:
    """`examples/minilm.py`, six layers in a scan."""
    return _example().encode(weights, x)


def add_one(weights: Any, x: jax.Array) -> jax.Array:
    """The smallest program: what a call costs beside the work."""
    return x + 1


FUNCTIONS: dict[str, Callable[..., Any]] = {"mlp": mlp, "minilm": minilm, "add_one": add_one}


def embed(weights: Any, x: Any) -> Any:
    """The first part of MiniLM; the mask goes along."""
    return {"hidden": _example()._embed(weights, x["ids"]), "mask": x["mask"]}


def block(weights: Any, x: Any) -> Any:
    """One layer of MiniLM."""
    of = _example()
    hidden = of._attend(weights["attention"], x["hidden"], x["mask"] > 0)
    return {"hidden": of._feed_forward(weights["mlp"], hidden), "mask": x["mask"]}


def pool(x: Any) -> jax.Array:
    """The last part of MiniLM."""
    return _example()._unit(_example()._mean(x["hidden"], x["mask"] > 0))


def _example() -> Any:
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    import minilm

    return minilm
