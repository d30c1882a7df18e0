"""Trees of arrays in a file: what a fit keeps while it runs, and between runs.

A safetensors file, whose tensors are the leaves in order; beside them a line of JSON as bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import errors
from lamda.address import sha256
from lamda.store.exchange import safetensors
from lamda.store.files import written
from lamda.tensor import Tensor

NOTE = "note"


def write(path: Path, tree: Any, note: Mapping[str, Any]) -> None:
    """Write a tree and what is to be known of it, in one durable step. Raises DiskError."""
    leaves = [_numbers(leaf) for leaf in jax.tree.leaves(tree)]
    named = {f"{i:06}": Tensor(leaf) for i, leaf in enumerate(leaves)}
    text = np.frombuffer(json.dumps(note, sort_keys=True).encode(), np.uint8)
    with written(path):
        safetensors.write(path, {**named, NOTE: Tensor(text)}, "")


def digest(tree: Any) -> str:
    """``sha256:...`` of the numbers of a tree, in order."""
    return sha256([Tensor(_numbers(leaf)).digest for leaf in jax.tree.leaves(tree)])


def read(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """The tree and the note of a file, in the structure of another tree of the same leaves.

    The arrays are read-only memory maps. Raises StoreError where it is damaged, or of another tree.
    """
    found = safetensors.read(path)
    wanted, structure = jax.tree.flatten(like)
    try:
        note = json.loads(found.pop(NOTE).tobytes())
        leaves = [found.pop(f"{i:06}") for i in range(len(wanted))]
        for leaf, other in zip(leaves, wanted, strict=True):
            numbers = jax.eval_shape(_numbers, other)
            if (leaf.shape, leaf.dtype) != (numbers.shape, numbers.dtype):
                raise ValueError(f"{leaf.dtype}{list(leaf.shape)} is not like {numbers}")
        if found:
            raise ValueError(f"it has {len(found)} tensors more")
    except (KeyError, ValueError) as error:
        text = errors.BAD_FILE.format(path=path, format="training", why=error)
        raise errors.StoreError(text) from None
    pairs = zip(leaves, wanted, strict=True)
    return jax.tree.unflatten(structure, [_back(leaf, other) for leaf, other in pairs]), note


def _numbers(leaf: Any) -> Any:
    """A leaf as plain numbers: a key of a random generator is numbers too."""
    leaf = jnp.asarray(leaf) if not hasattr(leaf, "dtype") else leaf
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _back(leaf: np.ndarray, like: Any) -> Any:
    dtype = getattr(like, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(like))
    return leaf
