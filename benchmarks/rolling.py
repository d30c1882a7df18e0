"""Compile time and size of a deep transformer: rolled, unrolled, and both by hand.

Run ``.venv/bin/python benchmarks/rolling.py [BLOCKS]``. Everything is compiled ahead of time from
StableHLO, in turns; medians are given. Run times are of the compiled programs on stacked weights.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from architectures import encoder_function, encoder_model, encoder_weights
from zero_cost import medians

import lamda as lm
from lamda.compile import program

BLOCKS, WIDTH, HEADS, TIME = 48, 128, 4, 32
ROUNDS = 3


def by_hand_rolled(w: Any, x: Any) -> Any:
    return jax.lax.scan(lambda x, w: (encoder_function(w, x), None), x, w)[0]


def by_hand(w: Any, x: Any) -> Any:
    for block in w:
        x = encoder_function(block, x)
    return x


def lowered(blocks: int) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """For each way: what lowers it anew, and what runs a compiled one."""
    weights = [encoder_weights(10 * i, WIDTH, HEADS) for i in range(blocks)]
    model = lm.compose(*map(encoder_model, weights))
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *weights)
    x = jnp.ones((1, TIME, WIDTH))

    def way(roll: bool) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
        made = program.of(model, roll)
        here = made.at({"b": 1, "t": TIME})
        arrays = [_array(argument) for argument in made.arguments]
        types = (*here.arguments(), *here.inputs())
        return lambda: jax.jit(here.main()).lower(*types), lambda f: f(*arrays, x)

    def hand(function: Callable[..., Any], w: Any) -> tuple[Callable[[], Any], Callable[..., Any]]:
        # A new function each time: what is lowered is not remembered.
        return lambda: jax.jit(lambda w, x: function(w, x)).lower(w, x), lambda f: f(w, x)

    return {
        "lamda, rolled": way(True),
        "lax.scan by hand": hand(by_hand_rolled, stacked),
        "lamda, unrolled": way(False),
        "unrolled by hand": hand(by_hand, weights),
    }


def _array(argument: program.Argument) -> jax.Array:
    arrays = [tensor.array for tensor in argument.tensors]
    return arrays[0] if len(arrays) == 1 else jnp.stack(arrays)


def size(executable: Any) -> int:
    """Bytes of the serialised executable."""
    return len(executable.runtime_executable().serialize())


def main() -> None:
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else BLOCKS
    ways = lowered(blocks)
    times: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, (lower, _) in ways.items():
            start = time.perf_counter()
            made[name] = lower().compile()
            times[name].append(time.perf_counter() - start)
            jax.clear_caches()
    runs = medians(*(lambda n=n: ways[n][1](made[n]) for n in ways), rounds=50)
    print(f"{blocks} blocks, width {WIDTH}, {HEADS} heads, sequence {TIME}")
    print(f"{'':18} {'compile s':>10} {'spread':>7} {'executable':>11} {'HLO':>10} {'run ms':>8}")
    compile_, bytes_ = {}, {}
    for (name, taken), run in zip(times.items(), runs, strict=True):
        compile_[name], bytes_[name] = statistics.median(taken), size(made[name])
        spread = (max(taken) - min(taken)) / compile_[name]
        text = len(made[name].as_text())
        print(
            f"{name:18} {compile_[name]:10.3f} {spread:7.0%} {bytes_[name]:11,} {text:10,} "
            f"{run * 1e3:8.2f}"
        )
    for what, of in (("compile time", compile_), ("executable", bytes_)):
        ours, scan, whole, _ = of.values()
        print(f"{what}: {ours / scan:.2f} of lax.scan by hand; unrolled takes {whole / ours:.1f} x")


if __name__ == "__main__":
    main()
