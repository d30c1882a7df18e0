"""A bundle and an engine in memory, for tests of what is around them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, MutableSequence, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # for the processes that tests start

import ml_dtypes
import msgpack
import numpy as np

from serve.handler import Handler
from serve.types import leaves

ADDRESS = "sha256:" + "a1" * 32
PRED = "sha256:" + "b2" * 32


def dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def pack(value: Any) -> bytes:
    """The msgpack of a value."""
    return msgpack.Packer().pack(value)


def unpack(body: bytes) -> Any:
    """The value of a msgpack."""
    return msgpack.unpackb(body)


class Bundle:
    """What serve.bundle reads, without a directory."""

    def __init__(
        self,
        input: dict[str, Any],
        output: dict[str, Any],
        sizes: dict[str, list[int]] | None = None,
        batch: str | None = "b",
        example: Any = None,
        text: dict[str, Any] | None = None,
        tokenizer: bytes = b"",
        padded: Sequence[str] = (),
    ) -> None:
        self.name, self.address, self.pred = "memory", ADDRESS, PRED
        self.input, self.output, self.example = input, output, example
        self.sizes, self.batch, self.text = sizes or {}, batch if sizes else None, text
        every = product(*self.sizes.values())
        self.programs = [{"sizes": dict(zip(self.sizes, some, strict=True))} for some in every]
        self.tokenizer, self.padded = tokenizer, padded

    def content(self, file: dict[str, Any]) -> bytes:
        return self.tokenizer


class Engine:
    """Runs a function of numpy arrays, on exactly the shapes of the program."""

    way, why = "memory", "a test"

    def __init__(self, bundle: Bundle, function: Callable[..., Sequence[np.ndarray]]) -> None:
        self.bundle, self.function = bundle, function
        self.notes = ["a note"]
        self.calls: MutableSequence[int] = []

    def __call__(self, index: int, inputs: list[bytes]) -> list[tuple[str, tuple[int, ...], bytes]]:
        self.calls.append(index)
        sizes = self.bundle.programs[index]["sizes"]
        arrays = []
        for leaf, data in zip(leaves(self.bundle.input), inputs, strict=True):
            shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in leaf.dims)
            assert type(data) is bytes
            assert len(data) == prod(shape) * dtype(leaf.dtype).itemsize
            arrays.append(np.frombuffer(data, dtype(leaf.dtype)).reshape(shape))
        return [(a.dtype.name, a.shape, a.tobytes()) for a in self.function(*arrays)]


def handler(bundle: Bundle, function: Callable[..., Sequence[np.ndarray]], **more: Any) -> Handler:
    return Handler(bundle, Engine(bundle, function), **more)


def forgetful(made: Handler) -> Handler:
    """The handler, whose engine remembers its last call alone: for campaigns."""
    made.engine.calls = deque(maxlen=1)
    return made


def doubling(**more: Any) -> Handler:
    """float32[b, 2] -> float32[b, 2], twice the input, for batches of 1 and 4."""
    two = {"array": ["float32", ["b", 2]]}
    bundle = Bundle(two, two, {"b": [1, 4]}, example=[[1.0, 2.0]])
    return handler(bundle, lambda x: [x * 2], **more)
