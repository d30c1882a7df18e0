"""Time executables of one program against each other, on this machine.

    python -m serve.runtime.measure JOB.json

All are loaded by one client and called in turns, so that what else this machine does slows them
alike: what tells two apart is the median over the rounds of their ratio in one round.
"""

from __future__ import annotations

import os
import sys
from time import perf_counter

from serve import errors
from serve.errors import PluginError
from serve.runtime import apart
from serve.runtime.client import Client
from serve.runtime.program import Program
from serve.runtime.weights import Pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from serve.runtime.frame import Spec
    from serve.runtime.plugins import Plugin

TURN = 0.02
"""Seconds of calls in a row, at least, before another executable has its turn."""


class Measured:
    """`seconds` of one call in each round, and the (dtype, bytes) of every output."""

    __slots__ = ("outputs", "seconds")

    def __init__(self, seconds: list[float], outputs: list[tuple[str, bytes]]) -> None:
        self.seconds = seconds
        self.outputs = outputs


def compare(
    executables: Sequence[bytes],
    plugin: Plugin,
    packs: Sequence[str],
    tensors: Sequence[Mapping[str, Any]],
    inputs: Sequence[tuple[Spec, bytes]],
    *,
    rounds: int,
) -> list[Measured]:
    """Every executable on the same weights and inputs, in as many rounds; none is enough to try it.

    `packs` are paths, `tensors` as in a manifest; the executables are of this plugin and for
    machines that this one has all features of.

    Raises:
        PluginError: the plugin can not be loaded, refuses one of them, or dies.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="lamda-measure-") as folder:
        paths = [_put(folder, f"{at}.pjrt", data) for at, data in enumerate(executables)]
        given = [_put(folder, f"{at}.in", data) for at, (_, data) in enumerate(inputs)]
        said = apart.ask(__name__, folder, {
            "plugin": plugin.path, "executables": paths, "packs": list(packs),
            "tensors": list(tensors), "specs": [spec for spec, _ in inputs], "inputs": given,
            "rounds": rounds, "folder": folder,
        })  # fmt: skip
        if "error" in said:
            raise PluginError(errors.MEASURE_FAILED.format(path=plugin.path, reason=said["error"]))
        return [
            Measured(seconds, [(dtype, _get(path)) for dtype, path in outputs])
            for seconds, outputs in zip(said["seconds"], said["outputs"], strict=True)
        ]


def _compared(job: dict[str, Any]) -> dict[str, Any]:
    client = Client(job["plugin"])
    packs = [Pack(path) for path in job["packs"]]
    weights = [
        client.place(packs[t["pack"]].address + t["offset"], t["dtype"], t["shape"])
        for t in job["tensors"]
    ]
    specs = [(dtype, tuple(shape)) for dtype, shape in job["specs"]]
    inputs = [_get(path) for path in job["inputs"]]
    programs = [Program(client, client.load(_get(p)), weights, specs) for p in job["executables"]]
    outputs = [
        [(dtype, _put(job["folder"], f"{at}.{i}.out", data))
         for i, (dtype, _, data) in enumerate(program(inputs))]
        for at, program in enumerate(programs)
    ]  # fmt: skip
    return {"seconds": _rounds(programs, inputs, job["rounds"]), "outputs": outputs}


def _rounds(programs: list[Program], inputs: list[bytes], rounds: int) -> list[list[float]]:
    """The seconds of one call, for each program, in each round."""
    calls = max(1, round(TURN / min(_turn(program, inputs, 1) for program in programs)))
    found: list[list[float]] = [[] for _ in programs]
    for number in range(rounds):
        order = [*range(len(programs))]
        start = number % len(order)
        # Another one comes first in each round, and every second round goes backwards.
        for at in (order[start:] + order[:start])[:: -1 if number % 2 else 1]:
            found[at].append(_turn(programs[at], inputs, calls))
    return found


def _turn(program: Program, inputs: list[bytes], calls: int) -> float:
    if calls > 1:
        program(inputs)  # not timed: caches are full of the one before
    start = perf_counter()
    for _ in range(calls):
        program(inputs)
    return (perf_counter() - start) / calls


def _put(folder: str, name: str, data: bytes) -> str:
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def _get(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(apart.answer(_compared, sys.argv[1]))
