"""A GPU through its plugin, beside jax.jit on it: the first answer, and the many after it.

    .venv/bin/python benchmarks/gpu.py [--platform cuda] [--rounds 9] [--only NAME] [--date DATE]

NAME is a model (mlp, minilm). What is measured is written to docs/gpu.md, and of the platform cpu,
which only shows that all of this works, printed alone. Where there is no device a line says what
was looked for. Every sample of a cold start is a fresh process; of calls, each way is a process of
its own, and they take turns, shuffled, one at a time. The answer that each must give is that of JAX
on the CPU. The first run installs what is needed under `.cache/peers`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"  # of this process, which needs JAX for the reference alone

import calls
import numpy as np
from peers import functions, models, prepare, processes, runners, weights
from peers.processes import Peer, Sample

import lamda as lm
from serve.runtime import plugins

PAGE = models.ROOT / "docs" / "gpu.md"
BATCHES = (1, 32, 256)
BOUND = 8 * 2**-11
"""Of the largest number of the answer: a GPU multiplies float32 as TF32, which has 10 bits."""

# What of the environment a driver may need to be found.
PASSED = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")

PROBE = """
import json, sys
from serve.errors import PluginError
from serve.runtime.client import Client
try:
    client = Client(sys.argv[1])
    print(json.dumps([client.platform, client.kind]))
except PluginError as reason:
    sys.exit(str(reason))
"""

TEXT = """\
# On a GPU

{kind}, driver {driver}, JAX {jax}, {date}. `make gpu` writes this page.

{table}

Medians of {rounds} rounds; in each, the ways take turns, in another order. Both take arrays of \
the host and give such arrays back. lamda serves a bundle for `{platform}:native`; `jax.jit` \
compiles in its process. mlp is eight layers of 512, minilm the real one at length {length}, both \
in float32, whose products a GPU makes as TF32. Every process must give the answer of JAX on the \
CPU, to {bound:.1g} of its largest number, before its times count.
"""


class Device(NamedTuple):
    """What is measured."""

    platform: str
    kind: str
    plugin: str

    @property
    def bundle(self) -> str:
        """The folder of the bundles for it: an executable is for one kind of device."""
        return f"{self.platform}-{'-'.join(self.kind.split())}"


class Case(models.Case):
    """A model at one batch size, as a device answers it."""

    __slots__ = ()

    @property
    def folder(self) -> Path:
        """Beside those of the CPU: these are for other batch sizes."""
        return models.CACHE / "models" / "device" / self.name

    def compare(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """Is the answer right, to BOUND? AssertionError where it is not."""
        apart, most = np.abs(found - wanted).max(), BOUND * np.abs(wanted).max()
        assert apart <= most, f"{self.name}: {apart:.1e} from the answer, {most:.1e} is allowed"


class Row(NamedTuple):
    """A line of the table: a median for each way."""

    model: str
    what: str
    medians: dict[str, float]

    def __str__(self) -> str:
        lamda, *others = self.medians.values()
        shares = [f"{lamda / other:.2f}" for other in others]
        numbers = [f"{n:,.0f}" if n >= 100 else f"{n:.3g}" for n in self.medians.values()]
        return f"| {' | '.join([self.model, self.what, *numbers, *shares])} |"


def find(platform: str) -> Device | str:
    """The device of a platform; where there is none, what was looked for and what was found."""
    plugin = plugins.find(platforms=[platform])
    if plugin is None:
        known = " or ".join(plugins.KNOWN.get(platform, ("jax_plugins/NAME/*.so",)))
        return f"looked for a plugin, {known} on the path of Python, and found none"
    command = [sys.executable, "-c", PROBE, plugin.path]
    environ = processes.variables() | passed()
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        return f"looked for one by {plugin.path}: {said or f'it ended with {done.returncode}'}"
    found, kind = json.loads(done.stdout.splitlines()[-1])
    if found != platform:
        return f"looked for one by {plugin.path}, which is a plugin of {found}"
    return Device(platform, kind, plugin.path)


def passed() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED if name in os.environ}


def has_jax(platform: str) -> bool:
    """Has JAX that platform, in a process of its own?"""
    environ = processes.variables() | passed() | {"JAX_PLATFORMS": platform}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=environ, capture_output=True, check=False).returncode == 0


def peers(device: Device) -> dict[str, Peer]:
    """Who takes part: lamda, and JAX where it has the platform."""
    environ = {**passed(), plugins.VARIABLE: device.plugin}
    ways = {"lamda": Peer("lamda", "with_lamda.py", (f"{{folder}}/{device.bundle}",), environ)}
    if has_jax(device.platform):
        # It would take most of the device's memory, and lamda's process is there as well.
        lean = {"JAX_PLATFORMS": device.platform, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        ways["jax.jit"] = runners.JAX._replace(environ={**passed(), **lean})
    else:
        print(f"JAX has no platform {device.platform} here: lamda is measured alone")
    return ways


def make(name: str, device: Device) -> None:
    """What the peers read: weights, inputs, the answers of JAX on the CPU, and the bundle."""
    w = prepare.numbers(name)
    function = prepare.jax.jit(functions.FUNCTIONS[name])
    for each in (case(name, batch) for batch in BATCHES):
        each.folder.mkdir(parents=True, exist_ok=True)
        for input, array in each.inputs.items():
            (each.folder / f"b{each.batch}.{input}.bin").write_bytes(array.tobytes())
        answer = function(w, each.inputs.get("x", each.inputs))
        np.save(each.folder / f"b{each.batch}.answer.npy", np.asarray(answer))
    folder = case(name, 1).folder
    weights.write(str(folder), w)
    target = f"{device.platform}:native"
    lm.bundle(
        prepare.model(name, w), folder / device.bundle, name=name, batch=BATCHES, targets=[target]
    )


def case(name: str, batch: int) -> Case:
    """A model with its inputs: those of the largest batch of the peers, as often as it takes."""
    most = max(models.BATCHES)
    inputs = models.INPUTS[name](min(batch, most))
    rows = np.arange(batch) % most  # a text after the 128th would have no token left
    return Case(name, batch, {key: array[rows] for key, array in inputs.items()})


def cold(first: Case, ways: dict[str, Peer], rounds: int) -> dict[str, list[Sample]]:
    """Fresh processes, after one each that does not count."""
    found: dict[str, list[Sample]] = {way: [] for way in ways}
    with ExitStack() as stack:
        start = {way: stack.enter_context(peer.ready(first)) for way, peer in ways.items()}
        for way in ways:
            start[way]()
        for order in runners.shuffled(ways, rounds):
            for way in order:
                found[way].append(start[way]())
    return found


def measure(name: str, ways: dict[str, Peer], rounds: int) -> Iterator[Row]:
    """The lines of one model."""
    samples = cold(case(name, 1), ways, rounds)

    def medians(of: Callable[[Sample], float]) -> dict[str, float]:
        return {way: statistics.median(map(of, each)) for way, each in samples.items()}

    yield Row(name, "process start to first correct answer, ms", medians(lambda s: 1e3 * s.seconds))
    yield Row(name, "peak memory of the host until then, MB", medians(lambda s: s.peak))
    for batch in BATCHES:
        found = calls.measure(case(name, batch), ways, rounds)
        seconds = {way: statistics.median(times) for way, times in found.items()}
        if batch == 1:
            yield Row(name, "a call at batch 1, ms", {way: 1e3 * s for way, s in seconds.items()})
        else:
            speeds = {way: batch / s for way, s in seconds.items()}
            yield Row(name, f"rows a second at batch {batch}", speeds)


def head(ways: dict[str, Peer]) -> str:
    """The head of the table."""
    columns = ["model", "median of", *ways, *(f"lamda / {way}" for way in list(ways)[1:])]
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def driver() -> str:
    """The version of the driver, as nvidia-smi tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip()


def page(device: Device, date: str, rounds: int, table: list[str]) -> str:
    """docs/gpu.md."""
    return TEXT.format(
        kind=device.kind, driver=driver(), jax=prepare.jax.__version__, date=date,
        table="\n".join(table), rounds=rounds, platform=device.platform, length=models.LENGTH,
        bound=BOUND,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", default="cuda", help="default: cuda")
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    parser.add_argument("--only", choices=["mlp", "minilm"], help="one model; writes nothing")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the page")
    given = parser.parse_args()
    device = find(given.platform)
    if isinstance(device, str):
        print(f"no device of {given.platform}: {device}")
        return
    print(f"{device.kind}, by {device.plugin}")
    ways = peers(device)
    table = [head(ways)]
    print(table[0], flush=True)
    for name in [given.only] if given.only else ["mlp", "minilm"]:
        make(name, device)
        for row in measure(name, ways, given.rounds):
            table.append(str(row))
            print(row, flush=True)
    if device.platform != "cpu" and not given.only:
        PAGE.write_text(page(device, given.date, given.rounds, table))


if __name__ == "__main__":
    main()
