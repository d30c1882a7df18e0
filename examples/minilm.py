"""MiniLM, a sentence encoder, as an ordinary JAX function of its weights.

    encode(weights, {"ids": int32[b, t], "mask": int32[b, t]})  ->  float32[b, 384]

A BERT of six layers: https://arxiv.org/abs/2002.10957. The six are one scanned body over weights
stacked on axis 0, so that the compiled program holds one layer, not six.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from tokenizers import Tokenizer

Weights = dict[str, Any]
"""A nested dict of arrays."""

LAYERS = 6
HEADS = 12
WIDTH = 384
LONGEST = 512
"""Tokens in the longest text: there are this many position embeddings."""


def encode(weights: Weights, x: Mapping[str, jax.Array]) -> jax.Array:
    """`encode(weights, {"ids": ids, "mask": mask})` is one unit vector for each text.

    ids: int32[b, t], from `tokenize`; mask: int32[b, t], 1 on text and 0 on padding.
    Returns float32[b, 384]: the mean over the text of the last layer, scaled to length 1.
    """
    mask = x["mask"] > 0

    def layer(hidden: jax.Array, part: Weights) -> tuple[jax.Array, None]:
        return _feed_forward(part["mlp"], _attend(part["attention"], hidden, mask)), None

    hidden, _ = jax.lax.scan(layer, _embed(weights["embeddings"], x["ids"]), weights["layers"])
    return _unit(_mean(hidden, mask))


def load(tensors: bytes) -> Weights:
    """The weights in a safetensors file, under readable names, layers stacked on axis 0."""
    file = safetensors.numpy.load(tensors)

    def norm(name: str) -> Weights:
        return {"scale": file[f"{name}.weight"], "bias": file[f"{name}.bias"]}

    def dense(name: str) -> Weights:
        kernel = np.ascontiguousarray(file[f"{name}.weight"].T)
        return {"kernel": kernel, "bias": file[f"{name}.bias"]}

    def layer(name: str) -> Weights:
        return {
            "attention": {
                "query": dense(f"{name}.attention.self.query"),
                "key": dense(f"{name}.attention.self.key"),
                "value": dense(f"{name}.attention.self.value"),
                "output": dense(f"{name}.attention.output.dense"),
                "norm": norm(f"{name}.attention.output.LayerNorm"),
            },
            "mlp": {
                "up": dense(f"{name}.intermediate.dense"),
                "down": dense(f"{name}.output.dense"),
                "norm": norm(f"{name}.output.LayerNorm"),
            },
        }

    layers = [layer(f"encoder.layer.{i}") for i in range(LAYERS)]
    return {
        "embeddings": {
            "word": file["embeddings.word_embeddings.weight"],
            "position": file["embeddings.position_embeddings.weight"],
            "type": file["embeddings.token_type_embeddings.weight"],
            "norm": norm("embeddings.LayerNorm"),
        },
        "layers": jax.tree.map(lambda *parts: np.stack(parts), *layers),
    }


def tokenize(
    tokenizer: bytes, texts: Sequence[str], max_length: int = 128
) -> dict[str, np.ndarray]:
    """`{"ids": int32[b, t], "mask": int32[b, t]}`, `t` the longest text, at most `max_length`.

    tokenizer: the bytes of `tokenizer.json`.
    """
    if not 2 <= max_length <= LONGEST:
        raise ValueError(f"max_length is {max_length}; it must lie between 2 and {LONGEST}")
    rows = _tokenizer(tokenizer, max_length).encode_batch(list(texts))
    return {
        "ids": np.array([row.ids for row in rows], np.int32),
        "mask": np.array([row.attention_mask for row in rows], np.int32),
    }


@lru_cache(maxsize=4)
def _tokenizer(tokenizer: bytes, max_length: int) -> Tokenizer:
    made = Tokenizer.from_str(tokenizer.decode())
    # The file itself cuts and pads every text to 128 tokens.
    made.enable_truncation(max_length)
    made.enable_padding()
    return made


def _embed(part: Weights, ids: jax.Array) -> jax.Array:
    # `take` rather than `[:t]`: it needs no proof that a symbolic t is at most 512.
    position = jnp.take(part["position"], jnp.arange(ids.shape[1]), axis=0)
    word = jnp.take(part["word"], ids, axis=0)
    return _norm(part["norm"], word + (position + part["type"][:1])[None])


def _attend(part: Weights, x: jax.Array, mask: jax.Array) -> jax.Array:
    b, t, _ = x.shape

    def heads(name: str) -> jax.Array:
        return _dense(part[name], x).reshape(b, t, HEADS, WIDTH // HEADS)

    mixed = jax.nn.dot_product_attention(
        heads("query"), heads("key"), heads("value"), mask=mask[:, None, None, :]
    )
    return _norm(part["norm"], x + _dense(part["output"], mixed.reshape(b, t, WIDTH)))


def _feed_forward(part: Weights, x: jax.Array) -> jax.Array:
    wide = jax.nn.gelu(_dense(part["up"], x), approximate=False)
    return _norm(part["norm"], x + _dense(part["down"], wide))


def _dense(part: Weights, x: jax.Array) -> jax.Array:
    return x @ part["kernel"] + part["bias"][None, None]


def _norm(part: Weights, x: jax.Array) -> jax.Array:
    centred = jax.nn.standardize(x, axis=-1, epsilon=1e-12)
    return centred * part["scale"][None, None] + part["bias"][None, None]


def _mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.mean(x, axis=1, where=mask[:, :, None])


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
