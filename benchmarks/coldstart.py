"""Process start to first correct answer, and the memory it takes: lamda beside its peers.

    .venv/bin/python benchmarks/coldstart.py [--rounds 9] [--only NAME ...]

NAME is a model (mlp, minilm, heavy) or a way (lamda, onnxruntime, ...). Every sample is a fresh
process on two cores (of the fork server: a fresh instance), in shuffled turns, with the page cache
warm; each answer is checked before its time counts. "cpu" is processor time until the answer,
which other work on the machine lengthens less. The first run installs the peers and converts the
models, under `.cache/peers`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from contextlib import ExitStack
from functools import partial

from peers import environments, models, processes, runners
from peers.processes import Sample, Way
from peers.served import Forked, Served

WAYS: dict[str, Way] = {
    "lamda": runners.LAMDA,
    "lamda, unrolled": runners.UNROLLED,
    "lamda, handler": runners.HANDLER,
    "lamda, python -m serve": Served("bundle"),
    "lamda, fork server": Forked("bundle"),
    "jax.jit": runners.JAX,
    "jax, serialised": runners.JAX_SERIALISED,
    "onnxruntime": runners.ONNXRUNTIME,
    "onnxruntime, optimised before": runners.OPTIMISED,
    "LiteRT": runners.LITERT,
}
MODELS = ("mlp", "minilm")
Found = dict[str, list[Sample]]


def measure(name: str, ways: list[str], rounds: int) -> Found:
    """The cold starts of one model at batch 1."""
    case = models.case(name, 1)
    found: Found = {way: [] for way in ways}
    with ExitStack() as stack:
        cold = {way: stack.enter_context(WAYS[way].ready(case)) for way in ways}
        for way in ways:
            cold[way]()  # into the page cache, and digests are remembered
        for order in runners.shuffled(ways, rounds):
            for way in order:
                found[way].append(cold[way]())
    return found


def milliseconds(found: Found, way: str) -> float:
    return 1000 * statistics.median(each.seconds for each in found[way])


def memory(found: Found, way: str) -> float:
    return statistics.median(each.peak for each in found[way])


def show(name: str, found: Found) -> None:
    """A line for each way, and what is asked of lamda."""
    rounds = len(next(iter(found.values())))
    text = f"{name}, batch 1: process start to first correct answer, {rounds} processes each"
    columns = f"{'median ms':>10} {'min ms':>8} {'cpu ms':>8} {'peak MB':>8} {'lamda is':>9}"
    runners.header(text, columns)
    for way, samples in found.items():
        median, least = milliseconds(found, way), 1000 * min(each.seconds for each in samples)
        busy = 1000 * statistics.median(each.busy for each in samples)
        share = f"{milliseconds(found, 'lamda') / median:9.2f}" if "lamda" in found else ""
        numbers = f"{median:10.1f} {least:8.1f} {busy:8.1f} {memory(found, way):8.1f}"
        print(f"  {way:<30} {numbers} {share}", flush=True)

    def ratio(peer: str) -> float:
        return milliseconds(found, "lamda") / milliseconds(found, peer)

    def more(way: str) -> float:
        return milliseconds(found, way) - milliseconds(found, "lamda")

    runners.goals([
        ("lamda / onnxruntime", partial(ratio, "onnxruntime"), 0.5, ""),
        ("lamda / onnxruntime, optimised before",
         partial(ratio, "onnxruntime, optimised before"), 0.5, ""),
        ("lamda / LiteRT", partial(ratio, "LiteRT"), 0.75, ""),
        ("lamda / jax.jit", partial(ratio, "jax.jit"), 0.1, ""),
        ("the handler, JSON to JSON, after lamda", partial(more, "lamda, handler"), 15, "ms"),
        ("python -m serve, request to answer, after lamda",
         partial(more, "lamda, python -m serve"), 15, "ms"),
        ("an instance of the fork server, request to answer",
         partial(milliseconds, found, "lamda, fork server"), 20, "ms"),
        ("peak memory of lamda more than that of LiteRT",
         lambda: memory(found, "lamda") - memory(found, "LiteRT"), 64, "MB"),
    ])  # fmt: skip


def heavy(rounds: int) -> None:
    """Opening 1 GiB of weights."""
    program = processes.HERE / "with_weights.py"
    folder = models.CACHE / "models" / models.HEAVY / "bundle"
    command = [environments.python("lamda"), str(program), str(folder)]
    found = []
    for _ in range(rounds + 1):
        done = subprocess.run(
            command, env=processes.variables(), stdout=subprocess.PIPE, check=True
        )
        found.append(json.loads(done.stdout))
        assert found[-1]["answer"] == 1 + sum(range(16)), found[-1]
    del found[0]  # it may have hashed the file
    seconds, anonymous = (
        statistics.median(each[key] for each in found) for key in ("seconds", "anonymous")
    )
    print(f"\nopening 1 GiB of weights, {rounds} processes")
    runners.goals([
        ("time", lambda: 1000 * seconds, 5, "ms"),
        ("new anonymous memory", lambda: anonymous, 1, "MB"),
    ])  # fmt: skip


def main() -> None:
    names = [*MODELS, models.HEAVY]
    given = runners.options(__doc__ or "", 9, [*names, *WAYS])
    wanted = runners.chosen(names, given.only)
    runners.prepare(wanted)
    for name in wanted:
        if name == models.HEAVY:
            heavy(given.rounds)
        else:
            show(name, measure(name, runners.chosen(WAYS, given.only), given.rounds))


if __name__ == "__main__":
    main()
