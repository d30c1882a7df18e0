"""Handlers that stream, in memory, for tests of what is around an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from memory import Bundle, Engine

from serve.handler import Handler

FLOAT = {"array": ["float32", []]}


class ScanEngine(Engine):
    """Notes how many elements each call had."""

    def __call__(self, index: int, inputs: list[bytes]) -> list[tuple[str, tuple[int, ...], bytes]]:
        outputs = super().__call__(index, inputs)
        self.calls[-1] = self.bundle.programs[index]["sizes"]["n"]
        return outputs


def total(state: np.ndarray, xs: np.ndarray) -> Sequence[np.ndarray]:
    """The running sum of the products of pairs, and how many there were."""
    products = np.cumsum(xs[:, 0] * xs[:, 1], dtype=np.float32)
    after = np.array([state[0] + len(xs), state[1] + products[-1]], np.float32)
    return [after, state[1] + products]


def scanning(function: Callable[..., Any] = total, **more: Any) -> Handler:
    """(float32[2], float32[n, 2]) -> (float32[2], float32[n]), by programs for 1 and 4."""
    state = {"array": ["float32", [2]]}
    bundle = Bundle(
        {"tuple": [state, {"array": ["float32", ["n", 2]]}]},
        {"tuple": [state, {"array": ["float32", ["n"]]}]},
        {"n": [1, 4]},
        batch=None,
        example=[[0, 0], [[1, 2]]],
    )
    bundle.stream = {"scan": "n"}
    return Handler(bundle, ScanEngine(bundle, function), **more)


class IterateEngine(Engine):
    """Runs the whole, the step and the test."""

    def __call__(self, index: int, inputs: list[bytes]) -> list[tuple[str, tuple[int, ...], bytes]]:
        self.calls.append(index)
        x = np.frombuffer(inputs[0], np.float32).reshape(self.bundle.shape)
        outputs = self.function(index, x)
        return [(a.dtype.name, a.shape, a.tobytes()) for a in outputs]


def iterating(
    step: Callable[[np.ndarray], np.ndarray] = lambda x: x * 2,
    done: Callable[[np.ndarray], Any] | None = None,
    n: int | None = None,
    shape: tuple[int, ...] = (),
    **more: Any,
) -> Handler:
    """float32 -> float32, `step` until `done`, or `n` times."""
    of = {"array": ["float32", list(shape)]}
    bundle = Bundle(of, of, example=np.ones(shape).tolist())
    bundle.shape = shape
    bundle.whole = bundle.programs
    one = [{"sizes": {}}]
    bundle.stream = {"iterate": {"n": n, "step": one, "done": one if done else None}}
    bundle.programs = [*one, *one, *(one if done else ())]

    def run(index: int, x: np.ndarray) -> list[np.ndarray]:
        if index == 2:
            return [np.array(bool(done and done(x)))]
        if index == 1:
            return [step(x).astype(np.float32)]
        left = n
        while left != 0 and not (done and done(x)):
            x = step(x).astype(np.float32)
            left = None if left is None else left - 1
        return [x]

    return Handler(bundle, IterateEngine(bundle, run), **more)


def lines(*values: Any) -> bytes:
    """A body of JSON, one value a line."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def said(answers: Any) -> list[Any]:
    """The values in a body of JSON lines, or in its pieces."""
    body = answers if isinstance(answers, bytes) else b"".join(answers)
    return [json.loads(line) for line in body.splitlines()]
