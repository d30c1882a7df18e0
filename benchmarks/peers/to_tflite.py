"""The models as TFLite files in float32, each with its weights inside.

    python to_tflite.py FOLDER BATCH ...

Runs in an environment with tensorflow. Activations are kept as matrices, since a dense layer on a
matrix becomes the one operation that XNNPACK does best.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import weights

HEADS, WIDTH, LENGTH, EPSILON = 12, 384, 128, 1e-12


def mlp(w: Any, batch: int) -> tuple[Callable[..., Any], list[Any]]:
    def function(x: Any) -> Any:
        for name in sorted(w):
            x = tf.nn.relu(_dense(w[name], x))
        return x

    return function, [tf.TensorSpec([batch, 512], tf.float32, "x")]


def minilm(w: Any, batch: int) -> tuple[Callable[..., Any], list[Any]]:
    table = w["embeddings"]
    positions = table["position"][:LENGTH] + table["type"][:1]

    def function(ids: Any, mask: Any) -> Any:
        words = tf.gather(np.array(table["word"]), ids) + positions
        x = _norm(table["norm"], tf.reshape(words, [batch * LENGTH, WIDTH]))
        kept = tf.cast(mask, tf.float32)
        bias = (kept[:, None, None, :] - 1) * 1e9
        for i in range(6):
            part = _at(w["layers"], i)
            x = _attend(part["attention"], x, bias, batch)
            x = _feed_forward(part["mlp"], x)
        weight = kept[:, :, None]
        total = tf.reduce_sum(tf.reshape(x, [batch, LENGTH, WIDTH]) * weight, 1)
        mean = total / tf.reduce_sum(weight, 1)
        return mean * tf.math.rsqrt(tf.reduce_sum(mean * mean, 1, keepdims=True))

    tokens = [batch, LENGTH]
    specs = [tf.TensorSpec(tokens, tf.int32, "ids"), tf.TensorSpec(tokens, tf.int32, "mask")]
    return function, specs


def _attend(w: Any, x: Any, bias: Any, batch: int) -> Any:
    def heads(name: str) -> Any:
        apart = tf.reshape(_dense(w[name], x), [batch, LENGTH, HEADS, WIDTH // HEADS])
        return tf.transpose(apart, [0, 2, 1, 3])

    scores = tf.matmul(heads("query"), heads("key"), transpose_b=True)
    shares = tf.nn.softmax(scores * (WIDTH // HEADS) ** -0.5 + bias)
    mixed = tf.transpose(tf.matmul(shares, heads("value")), [0, 2, 1, 3])
    together = tf.reshape(mixed, [batch * LENGTH, WIDTH])
    return _norm(w["norm"], x + _dense(w["output"], together))


def _feed_forward(w: Any, x: Any) -> Any:
    wide = tf.nn.gelu(_dense(w["up"], x), approximate=False)
    return _norm(w["norm"], x + _dense(w["down"], wide))


def _dense(w: Any, x: Any) -> Any:
    return tf.matmul(x, np.array(w["kernel"])) + np.array(w["bias"])


def _norm(w: Any, x: Any) -> Any:
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    return centred * tf.math.rsqrt(variance + EPSILON) * np.array(w["scale"]) + np.array(w["bias"])


def _at(node: Any, i: int) -> Any:
    return {k: _at(v, i) for k, v in node.items()} if isinstance(node, dict) else node[i]


if __name__ == "__main__":
    folder, *batches = sys.argv[1:]
    make = {"mlp": mlp, "minilm": minilm}[os.path.basename(folder)]
    for batch in batches:
        function, specs = make(weights.read(folder), int(batch))
        # A function of this module, and no object behind it: tf.function is all there is to keep.
        concrete = tf.function(function).get_concrete_function(*specs)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        with open(os.path.join(folder, f"b{batch}.tflite"), "wb") as file:
            file.write(converter.convert())
