"""What a composition costs against hand-written JAX: operations and time.

Run ``.venv/bin/python benchmarks/zero_cost.py``. Operations are those of the optimised HLO; times
are medians of runs that take turns.
"""

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
from architectures import LARGE, Case

ROUNDS = 200


def compiled(case: Case) -> tuple[Any, Any]:
    """The composition, of the leaves of the model, and the hand-written function, compiled."""
    leaves, frame = jax.tree.flatten(case.model)
    ours = jax.jit(lambda w, x: jax.tree.unflatten(frame, w)(x)).lower(leaves, case.x).compile()
    theirs = jax.jit(case.function).lower(case.weights, case.x).compile()
    return ours, theirs


def operations(text: str) -> Counter[str]:
    """How often each opcode occurs in an HLO module."""
    return Counter(re.findall(r"^ .*?= (?:\(.*?\)|\S+) ([\w-]+)\(", text, re.M))


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def medians(*runs: Callable[[], Any], rounds: int = ROUNDS) -> list[float]:
    """The median time of each, taking turns."""
    for run in runs:
        jax.block_until_ready(run())
    times: list[list[float]] = [[] for _ in runs]
    for i in range(rounds):
        order = list(enumerate(runs))
        for place, run in order if i % 2 else reversed(order):
            times[place].append(seconds(run))
    return [statistics.median(each) for each in times]


def main() -> None:
    print(" " * 22, "operations  by hand       ms  by hand  ratio  noise")
    for name, make in LARGE.items():
        case = make()
        ours, theirs = compiled(case)
        leaves = jax.tree.leaves(case.model)
        a, b = (operations(each.as_text()) for each in (ours, theirs))
        first, second, again = medians(
            lambda: ours(leaves, case.x),  # noqa: B023
            lambda: theirs(case.weights, case.x),  # noqa: B023
            lambda: theirs(case.weights, case.x),  # noqa: B023
        )
        same = "" if a == b else f"  differ: {(a - b) + (b - a)}"
        print(
            f"{name:22} {a.total():11} {b.total():8} {first * 1e3:8.3f} {second * 1e3:8.3f} "
            f"{first / second:6.3f} {again / second:6.3f}{same}",
            flush=True,
        )


if __name__ == "__main__":
    main()
