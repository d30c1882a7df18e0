"""The weights of a model in one file, every tensor at a multiple of 64 bytes; numpy alone."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np


def write(folder: str, weights: dict[str, Any]) -> None:
    """Write a nested dict of float32 arrays; a file that holds the same is left as it is."""
    places, data = {}, bytearray()
    for name, array in _leaves(weights):
        data += bytes(-len(data) % 64)
        places[name] = [list(array.shape), len(data)]
        data += np.ascontiguousarray(array, np.float32).tobytes()
    path = os.path.join(folder, "weights.bin")
    if not os.path.exists(path) or np.fromfile(path, np.uint8).tobytes() != bytes(data):
        with open(path, "wb") as file:
            file.write(data)
    with open(os.path.join(folder, "weights.json"), "w") as file:
        json.dump(places, file)


def read(folder: str) -> dict[str, Any]:
    """The nested dict again: maps of the file, of which nothing is copied."""
    path = os.path.join(folder, "weights.bin")
    with open(os.path.join(folder, "weights.json")) as file:
        places = json.load(file)
    data: Any = np.memmap(path, np.float32, "r") if places else None
    weights: dict[str, Any] = {}
    for name, (shape, offset) in places.items():
        *parents, last = name.split("/")
        node = weights
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = data[offset // 4 :][: int(np.prod(shape))].reshape(shape)
    return weights


def _leaves(node: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    return [
        leaf
        for name, value in sorted(node.items())
        for leaf in (
            _leaves(value, f"{path}{name}/") if isinstance(value, dict) else [(path + name, value)]
        )
    ]
