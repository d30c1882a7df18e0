"""Time of a normal form and its address, by the number of applications.

Run ``.venv/bin/python benchmarks/normal.py``. A column that is flat says: linear.

* chain: one part after another, each with weights of its own;
* wide: one input, many parts;
* shared: ``t = add(t & t)``, again and again: a tree of ``2 ** n`` leaves, which is a graph of
  ``n`` applications.
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import reduce

import jax.numpy as jnp
import numpy as np

import lamda as lm

SIZES = (100, 1_000, 10_000, 100_000)
DEPTHS = (10, 20, 40, 80)


def scale(weight, x):
    """A part with one weight."""
    return x * weight


def parts(count: int) -> Iterator[lm.Model]:
    """Parts of one function, each with its own weights."""
    part = lm.lift(scale, jnp.float32(0), input="float32[b]", name="scale")
    for i in range(count):
        yield part.replace_weights(np.float32(i))


def chain(count: int) -> lm.Model:
    """``count`` parts, one after another."""
    return lm.compose(*parts(count))


def wide(count: int) -> lm.Model:
    """``count`` parts of one input."""
    return lm.branch(*parts(count))


def shared(count: int) -> lm.Model:
    """A tree of ``2 ** count`` leaves that are all one."""
    add = lm.lift(lambda pair: pair[0] + pair[1], name="add")
    return reduce(lambda t, _: lm.branch(t, t) >> add, range(count), next(parts(1)))


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compose_seconds(count: int) -> float:
    made = list(parts(count))
    return seconds(lambda: lm.compose(*made))


def fold_seconds(count: int) -> float:
    made = list(parts(count))
    return seconds(lambda: reduce(lambda f, g: f >> g, made))


def row(name: str, build: Callable[[int], lm.Model], count: int) -> str:
    model = build(count)
    first = seconds(lambda: model.address)
    program = seconds(lambda: model.program)
    return (
        f"{name:8} {count:8,} {first:10.3f} {program:10.3f} {(first + program) / count * 1e6:12.1f}"
    )


def main() -> None:
    chain(2).address  # noqa: B018 - JAX starts
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]
    print(f"{'':8} {'nodes':>8} {'address s':>10} {'program s':>10} {'us per node':>12}")
    for name, build in (("chain", chain), ("wide", wide)):
        for count in SIZES:
            if count <= largest:
                print(row(name, build, count), flush=True)
    for count in DEPTHS:
        print(row("shared", shared, count), flush=True)
    for count in (100, 1_000):
        print(f"compose(f, ...) of {count:,} parts: {compose_seconds(count):.3f} s")
        print(f"f >> g >> ...  of {count:,} parts: {fold_seconds(count):.3f} s")


if __name__ == "__main__":
    main()
