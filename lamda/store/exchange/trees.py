"""Trees: nested dicts of arrays, and the same by path."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamda import errors
from lamda.tensor import Tensor

ROOT = "weights"
"""The name, in a file, of a tensor that is all of a model's weights."""


def nested(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arrays as nested dicts. Raises SpecError where one path goes through another.

    >>> nested({"a/b": Tensor(np.ones(1)), "c": Tensor(np.ones(1))})
    {'a': {'b': array([1.])}, 'c': array([1.])}
    """
    root: dict[str, Any] = {}
    for path, tensor in weights.items():
        *folders, last = path.split("/")
        node = root
        for key in folders:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise errors.SpecError(errors.NO_TREE.format(path=path))
        if last in node:
            raise errors.SpecError(errors.NO_TREE.format(path=path))
        node[last] = np.asarray(tensor.array)
    return root


def flat(tree: Any, path: str = "") -> dict[str, np.ndarray]:
    """The arrays of nested dicts, lists and tuples, by path; ``None`` is nothing.

    Raises ValueError where two arrays have one path, as of the keys 1 and "1".

    >>> flat({"a": [1.5, {"b": 2}]})
    {'a/0': array(1.5), 'a/1/b': array(2)}
    """
    if tree is None:
        return {}
    if isinstance(tree, Mapping):
        items = [*tree.items()]
    elif isinstance(tree, list | tuple):
        items = [*enumerate(tree)]
    else:
        return {path or ROOT: np.asarray(tree)}
    found: dict[str, np.ndarray] = {}
    for key, value in items:
        new = flat(value, f"{path}/{key}" if path else str(key))
        if twice := found.keys() & new.keys():
            raise ValueError(f"two arrays are at {min(twice)!r}")
        found |= new
    return found
