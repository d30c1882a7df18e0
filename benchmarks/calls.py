"""What a call takes once everything is loaded: lamda beside its peers.

    .venv/bin/python benchmarks/calls.py [--rounds 15] [--only NAME ...]

NAME is a model (add_one, mlp, minilm) or a way (lamda, onnxruntime, ...). `add_one` is x + 1 on 16
numbers, arrays of the host in and out: the cost of a call as such. Each peer is a process of its
own, on two cores; they take turns, shuffled, one at a time, and the others wait. Medians are
printed. The first run installs the peers and converts the models, under `.cache/peers`.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from contextlib import ExitStack
from functools import partial

from peers import environments, models, processes, runners
from peers.processes import Peer

WAYS = {
    "lamda": runners.LAMDA,
    "lamda, cpu:native": runners.NATIVE,
    "lamda, rolled": runners.ROLLED,
    "lamda, unrolled": runners.UNROLLED,
    "jax.jit": runners.JAX,
    "onnxruntime": runners.ONNXRUNTIME,
    "LiteRT": runners.LITERT,
}
OF_ADD_ONE = {
    "lamda, ctypes": runners.LAMDA._replace(environ={"LAMDA_SHIM": "0"}),
    "lamda, shim": runners.LAMDA,
    "jax.jit": runners.JAX,
}
GOALS = {"lamda": 1.05, "lamda, ctypes": 1.2, "lamda, shim": 0.7}
"""The most that each may be of jax.jit."""
TURN = 0.15
"""Seconds of calls in a turn."""
REST = 0.02
"""Seconds between turns: threads of the one before may spin for a while."""
Found = dict[str, list[float]]


def measure(case: models.Case, ways: dict[str, Peer], rounds: int) -> Found:
    """Seconds of a call, in each round."""
    found: Found = {way: [] for way in ways}
    with ExitStack() as stack:
        timed = {way: stack.enter_context(peer.running(case)) for way, peer in ways.items()}
        calls = {way: max(1, round(TURN / _warm(call))) for way, call in timed.items()}
        for order in runners.shuffled(ways, rounds):
            for way in order:
                time.sleep(REST)
                found[way].append(timed[way](calls[way]))
    return found


def _warm(call: runners.Timed) -> float:
    """Seconds of a call, after some that do not count."""
    once = call(1)
    return call(max(1, round(TURN / once)))


def show(case: models.Case, found: Found) -> None:
    """A line for each way, and what is asked of lamda."""
    rounds = len(next(iter(found.values())))
    unit, factor = ("us", 1e6) if case.name != "minilm" else ("ms", 1e3)
    medians = {way: statistics.median(times) for way, times in found.items()}
    columns = f"{f'median {unit}':>10} {f'min {unit}':>8} {'of jax.jit':>11}"
    runners.header(f"{case.name}, batch {case.batch}: a call, {rounds} rounds", columns)
    for way, times in found.items():
        share = f"{medians[way] / medians['jax.jit']:11.2f}" if "jax.jit" in medians else ""
        print(f"  {way:<30} {factor * medians[way]:10.2f} {factor * min(times):8.2f} {share}")

    def ratio(way: str) -> float:
        return medians[way] / medians["jax.jit"]

    runners.goals([
        (f"{way} / jax.jit", partial(ratio, way), most, "")
        for way, most in GOALS.items()
    ])  # fmt: skip


def shim() -> bool:
    """Is the shim built? It would be used wherever LAMDA_SHIM does not say 0."""
    script = "import sys; from serve.runtime import shim; sys.exit(shim.find().call is None)"
    command = [environments.python("lamda"), "-c", script]
    return subprocess.run(command, env=processes.variables(), check=False).returncode == 0


def main() -> None:
    given = runners.options(__doc__ or "", 15, [*models.INPUTS, *{**OF_ADD_ONE, **WAYS}])
    wanted = runners.chosen(["add_one", "mlp", "minilm"], given.only)
    runners.prepare(wanted)
    for name in wanted:
        peers = OF_ADD_ONE if name == "add_one" else WAYS
        ways = {way: peers[way] for way in runners.chosen(peers, given.only)}
        if "lamda, shim" in ways and not shim():
            print("no shim: LAMDA_CACHE=.cache/peers/cache python -m serve.runtime.shim builds it")
            del ways["lamda, shim"]
        for batch in models.BATCHES[: 1 if name == "add_one" else None]:
            case = models.case(name, batch)
            show(case, measure(case, ways, given.rounds))


if __name__ == "__main__":
    main()
