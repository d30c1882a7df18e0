"""What a store costs: on the disk, to write, to open, to read. Beside safetensors and Orbax.

    python benchmarks/store.py [--directory DIR] [--gib 2] [--rounds 5]

Peers take turns in each round, on the same disk and the same numbers; medians are printed, with
their ratios, and the least of each, which other work on the machine disturbs least. Large files
are removed after each turn, so that none pays for the memory of another. What is durable is
flushed to the disk (fsync); safetensors' save_file flushes nothing by itself, so its file is
flushed after it where a durable peer stands beside it.
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.flax
import safetensors.numpy

# Before this folder, which has a serve.py.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lamda as lm

LINE = "{:<52} {:>10}  {}"


def rows(weights: Any, x: Any) -> Any:
    """A function with as many weights as one likes, of which it reads none."""
    return x


def model(weights: dict[str, Any], name: str = "backbone") -> lm.Model:
    return lm.lift(rows, weights, input="float32[b]", name=name)


def numbers(count: int, seed: int) -> jax.Array:
    made = np.random.default_rng(seed).standard_normal(count, dtype=np.float32)
    return jnp.asarray(made)


def timed(run: Callable[[], Any]) -> float:
    gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def nothing(number: int) -> None:
    """What follows a turn that left nothing to remove."""


def interleaved(
    peers: dict[str, Callable[[int], Any]],
    rounds: int,
    after: Callable[[int], None] = nothing,
) -> dict[str, list[float]]:
    """The seconds of each, taking turns; another begins each round, on a disk at rest.

    ``after`` each turn, the clock stands.
    """
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    order = list(peers.items())
    for number in range(rounds):
        order.append(order.pop(0))
        for name, run in order:
            os.sync()
            seconds[name].append(timed(partial(run, number)))
            after(number)
    return seconds


def told(found: dict[str, list[float]], of: str) -> None:
    middle = {name: statistics.median(times) for name, times in found.items()}
    for name, seconds in middle.items():
        least, peer = min(found[name]), min(found[of])
        said = f"least {1000 * least:,.1f} ms"
        if name != of:
            said += f"; {seconds / middle[of]:.2f} of {of}, of the least {least / peer:.2f}"
        print(LINE.format(f"  {name}", f"{1000 * seconds:,.1f} ms", said), flush=True)


def flushed(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def size(directory: Path) -> int:
    return sum(p.stat().st_blocks * 512 for p in directory.rglob("*") if p.is_file())


def versions(root: Path, rounds: int) -> None:
    """100 versions of a backbone of 90 MB with heads of 100 KB."""
    layers = {f"layer{i}": numbers(1_875_000, i) for i in range(12)}
    body = lm.freeze(model(layers))
    head = lm.lift(rows, {"kernel": numbers(25_600, 99)}, input="float32[b]", name="head")
    whole, store = body >> head, lm.Store(root / "versions")
    store.put(whole, ref="m")
    at = {"model": whole}

    def successor(number: int) -> None:
        kernel = {"kernel": numbers(25_600, 1000 + len(store.log("m")))}
        at["model"] = lm.succ(at["model"], {"head": kernel})
        store.put(at["model"], ref="m")

    every = {**layers, "head": whole.weights["head"]["kernel"]}
    peers = {
        "safetensors, the whole model, not flushed": lambda n: safetensors.flax.save_file(
            every, root / f"{n}.safetensors"
        ),
        "store.put of a successor, durable": successor,
    }
    print("a successor of a 90 MB model with a new head of 100 KB")
    found = interleaved(peers, rounds)
    told(found, "safetensors, the whole model, not flushed")
    while len(store.log("m")) < 100:
        successor(0)
    used, least = size(root / "versions"), 90e6 + 100 * 102_400
    print("100 versions on the disk")
    print(LINE.format("  store", f"{used / 1e6:,.1f} MB", f"{used / least:.3f} of 90 MB + heads"))


def large(root: Path, gib: float, rounds: int) -> None:
    """Saving and loading some GiB."""
    count = int(gib * (1 << 30) / 4 / 16)
    weights = {f"t{i:02d}": numbers(count, i) for i in range(16)}
    kept = model(weights)
    _ = kept.program  # traced, and its program exported, before the clock starts
    lm.Store(root / "warm").put(kept)

    def put(number: int) -> None:
        # New tensors: nothing of them is known, as nothing is to safetensors.
        store = lm.Store(root / f"store{number}")
        store.put(model(dict(weights)), ref="m")

    def save(number: int) -> None:
        path = root / f"{number}.safetensors"
        safetensors.flax.save_file(weights, path)
        flushed(path)

    def remove(number: int) -> None:
        shutil.rmtree(root / f"store{number}", ignore_errors=True)
        (root / f"{number}.safetensors").unlink(missing_ok=True)

    shutil.rmtree(root / "warm")
    print(f"saving {gib:g} GiB in 16 tensors, durable")
    found = interleaved({"safetensors and fsync": save, "store.put": put}, rounds, remove)
    told(found, "safetensors and fsync")
    put(0)  # to be loaded
    save(0)

    def touched(tree: Any) -> None:
        for leaf in jax.tree.leaves(tree):
            np.asarray(leaf).reshape(-1)[::1024].sum()  # a number of every page

    path = root / "0.safetensors"
    peers: dict[str, Callable[[int], Any]] = {
        "safetensors.flax.load_file": lambda n: touched(safetensors.flax.load_file(path)),
        "store.get": lambda n: touched(lm.Store(root / "store0").get("m").weights),
    }
    if orbax := _orbax():
        saved = root / "orbax"
        orbax.save(saved, weights)
        peers["orbax"] = lambda n: touched(orbax.restore(saved))
    print(f"loading {gib:g} GiB to JAX arrays, every page touched")
    told(interleaved(peers, rounds), "safetensors.flax.load_file")
    print(f"opening {gib:g} GiB without touching it")
    told(
        interleaved({"store.get": lambda n: lm.Store(root / "store0").get("m")}, rounds),
        "store.get",
    )


def _orbax() -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        print("  (orbax-checkpoint is not installed: left out)")
        return None
    return ocp.PyTreeCheckpointer()


def many(root: Path, rounds: int) -> None:
    """10,000 tensors of 4 KB, in 500 parts of 20."""
    parts = [
        model({f"t{i:02d}": numbers(1024, 20 * j + i) for i in range(20)}, f"p{j}")
        for j in range(500)
    ]
    whole = lm.compose(*parts)
    flat = {f"{i}": a for i, a in enumerate(jax.tree.leaves(whole.weights))}
    lm.Store(root / "first").put(whole)

    def put(number: int) -> None:
        # Other numbers: no digest of them is known.
        new = whole.replace_weights(jax.tree.map(lambda w: w + number, whole.weights))
        start = time.perf_counter()
        lm.Store(root / f"many{number}").put(new, ref="m")
        spent.append(time.perf_counter() - start)

    spent: list[float] = []
    peers = {
        "safetensors and fsync": lambda n: (
            safetensors.flax.save_file(flat, root / "many.safetensors"),
            flushed(root / "many.safetensors"),
        ),
        "store.put, with replace_weights": put,
    }
    print("saving 10,000 tensors of 4 KB")
    found = interleaved(peers, rounds)
    told(found | {"store.put": spent}, "safetensors and fsync")
    print("opening 10,000 tensors of 4 KB")
    told(
        interleaved({"store.get": lambda n: lm.Store(root / "many0").get("m")}, rounds), "store.get"
    )


PROCESS = """
import json, sys, time, lamda as lm
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
store = lm.Store.open(sys.argv[1])
before = resident()
model = store.get("m")
opened = resident()
sum(float(t.array[0]) for _, t, _ in model.tensors())
print(json.dumps([opened - before, resident() - before]))
"""


def memory(root: Path) -> None:
    """What opening costs in memory, in a fresh process."""
    done = subprocess.run([sys.executable, "-c", PROCESS, str(root / "store0")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    opened, touched = json.loads(done.stdout.splitlines()[-1])
    print("resident memory of a fresh process, more than before")
    print(LINE.format("  opened", f"{opened / 1e6:,.1f} MB", ""))
    print(LINE.format("  a page of each tensor read", f"{touched / 1e6:,.1f} MB", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--directory", help="where to write: a directory of the disk to measure")
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.directory, prefix="lamda-") as made:
        root = Path(made)
        versions(root, chosen.rounds)
        many(root, chosen.rounds)
        large(root, chosen.gib, chosen.rounds)
        memory(root)


if __name__ == "__main__":
    main()
