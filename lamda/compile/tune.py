"""Tuning: of some flags of the compiler, those that a program runs fastest with on this machine.

Each of OPTIONS is compiled and run beside the executable without flags, on the weights of the
bundle and on inputs made from the types. What agrees and gained is measured once more, all of it
together as well, since among many that are timed once the fastest is often only the luckiest. The
second time counts.
"""

import re
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lamda import errors
from lamda.compile import packs
from lamda.compile.executables import TUNED, Entry, Executables, Flags
from lamda.compile.files import File, Files
from lamda.compile.program import Program, Structure
from lamda.compile.targets import Target
from serve.errors import PluginError
from serve.runtime import machine, measure
from serve.runtime.build import Built
from serve.runtime.measure import Measured

ULPS = 16
"""How far an output may be from the untuned one, in ulps of its dtype at its largest number."""
LEAST = 0.03
"""The share of the time that flags must gain to be kept, by the median of the rounds."""
ROUNDS, MOST = 15, 0.8
"""How many rounds there are, and the share of them in which flags must be faster: two that are
equally fast pass by luck once in sixty times."""

# What changes the code of a CPU without changing what it means for what is not a number.
# Source: xla/xla.proto and xla/debug_options_flags.cc of openxla/xla.
OPTIONS: tuple[Flags, ...] = (
    {"xla_cpu_prefer_vector_width": "512"},
    {"xla_cpu_prefer_vector_width": "128"},
    {"xla_cpu_multi_thread_eigen": "False"},
    {"xla_cpu_enable_platform_dependent_math": "True"},
    {"xla_cpu_use_new_xtile_lowering": "True"},
    {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_CONCURRENCY_OPTIMIZED"},
    {
        "xla_cpu_use_xnnpack": "True",
        "xla_cpu_experimental_xnn_fusion_type": "LIBRARY_FUSION_TYPE_DOT",
        "xla_cpu_experimental_xnn_graph_fusion_mode": "XNN_GRAPH_FUSION_MODE_GREEDY",
    },
    {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"},
    {
        "xla_cpu_enable_fast_math": "True",
        "xla_cpu_fast_math_honor_division": "True",
        "xla_cpu_fast_math_honor_functions": "True",
        "xla_cpu_fast_math_honor_infs": "True",
        "xla_cpu_fast_math_honor_nans": "True",
    },
)


class Try(NamedTuple):
    """One choice of flags."""

    flags: Flags
    gained: float | None
    """The share of the time that it saves; ``None`` where it could not be measured."""
    refused: str
    """Why it was not kept; empty where it was."""


class Tuned(NamedTuple):
    """What tuning found for one program and target."""

    sizes: dict[str, int]
    target: str
    flags: Flags
    """Those that were kept; none where nothing gained."""
    gained: float
    """The share of the time that they save."""
    tries: tuple[Try, ...]
    """Everything that was tried now; nothing where a bundle in the same place was tuned before."""
    note: str = ""


class Tuner:
    """Chooses the flags of executables; use ``with``, for it keeps the weights in a folder."""

    def __init__(self, executables: Executables, whole: Program) -> None:
        self.found: list[Tuned] = []
        self._executables = executables
        self._whole = whole
        self._stack = ExitStack()
        self._weights: tuple[list[str], list[dict[str, Any]]] | None = None

    def __enter__(self) -> "Tuner":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def entry(self, code: bytes, file: File, made: Structure, target: Target) -> Entry | None:
        """The EXECUTABLE of a program with the flags that suit it best. Raises PluginError."""
        if reason := _unfit(target) or (not self._executables.plugin(target) and NO_PLUGIN):
            note = errors.NO_TUNING.format(target=target.name, reason=reason)
            self.found.append(Tuned(dict(made.sizes), target.name, {}, 0.0, (), note))
            return self.untuned(code, file, made, target)
        known = self._executables.tuned(file, target)
        if known is not None:
            found, best = Tuned(dict(made.sizes), target.name, known, 0.0, (), KNOWN), None
        else:
            found, best = self._tune(code, made, target)
        self.found.append(found)
        entry = self._executables.entry(code, file, target, found.flags, best)
        return entry and {**entry, TUNED: True}

    def untuned(self, code: bytes, file: File, made: Structure, target: Target) -> Entry | None:
        """The EXECUTABLE of a program without flags. Raises PluginError."""
        return self._executables.entry(code, file, target, {})

    def _tune(self, code: bytes, made: Structure, target: Target) -> tuple[Tuned, Built]:
        trial = _Trial(self, code, made, target)
        trial.build(({}, *OPTIONS))
        trial.measure()
        gained = sorted(filter(trial.fits, trial.built), key=trial.gain)
        if gained:
            trial.built = [(), *gained]
            # All together; of two values of one flag that of the larger gain.
            trial.build((dict(pair for flags in gained for pair in flags),))
            trial.measure()
        kept = trial.best()
        tries = tuple(trial.told(flags, kept) for flags in trial.tried if flags)
        done = Tuned(dict(made.sizes), target.name, dict(kept), trial.gain(kept), tries)
        return done, trial.every[kept]

    def run(self, executables: list[bytes], made: Structure, target: Target, rounds: int) -> Any:
        """They are measured on the weights of the bundle. Raises PluginError."""
        if self._weights is None:
            folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="lamda-tune-")))
            files = Files(folder)
            entry = packs.weights(self._whole, files)
            files.write()
            paths = [str(folder / pack["path"]) for pack in entry["packs"]]
            self._weights = paths, entry["tensors"]
        plugin = self._executables.plugin(target)
        assert plugin is not None
        return measure.compare(executables, plugin, *self._weights, inputs(made), rounds=rounds)

    def build(self, code: bytes, target: Target, flags: Flags) -> Built:
        return self._executables.build(code, target, flags)


_Key = tuple[tuple[str, str], ...]
KNOWN = "tuned before: its flags were kept"
NO_PLUGIN = "there is no plugin for it here"
NOT_BUILT = "it does not compile: {reason}"
NOT_RUN = "it does not run: {reason}"
NOT_AGREED = "an output differs by {ulps:.0f} ulps of its largest number, {most} are allowed"
NOT_EQUAL = "an output of whole numbers differs"
NOT_GAINED = (
    "it gained {gained:.1%}, and in {won:.0%} of the rounds: {least:.0%} and {most:.0%} count"
)
SLOWER = "it gained less than what was kept"


class _Trial:
    """The tries of one program: what was built, measured and found of each choice of flags."""

    def __init__(self, tuner: Tuner, code: bytes, made: Structure, target: Target) -> None:
        self.tried: dict[_Key, Try] = {}
        self.every: dict[_Key, Built] = {}
        self.built: list[_Key] = []
        self._tuner, self._code, self._made, self._target = tuner, code, made, target
        self._gains: dict[_Key, float] = {}
        self._won: dict[_Key, float] = {}

    def build(self, options: tuple[Flags, ...]) -> None:
        for flags in options:
            key = tuple(sorted(flags.items()))
            if key in self.tried:
                continue
            try:
                self.every[key] = self._tuner.build(self._code, self._target, flags)
            except PluginError as error:
                if not flags:
                    raise
                self._refuse(key, NOT_BUILT.format(reason=_short(error)))
            else:
                self.built.append(key)
                self.tried[key] = Try(flags, None, "")

    def measure(self) -> None:
        """Time what is built beside the untuned, which comes first."""
        try:
            measured = self._run(self.built, ROUNDS)
        except PluginError:
            self.built = [key for key in self.built if self._runs(key)]
            measured = self._run(self.built, ROUNDS)
        base = measured[0]
        for key, one in zip(self.built, measured, strict=True):
            ratios = [a / b for a, b in zip(one.seconds, base.seconds, strict=True)]
            self._gains[key] = 1 - median(ratios)
            self._won[key] = sum(ratio < 1 for ratio in ratios) / len(ratios)
            if key and (reason := disagreement(one.outputs, base.outputs)):
                self._refuse(key, reason)

    def refused(self, key: _Key) -> str:
        """Why flags are not to be kept; empty where they may."""
        if not key:
            return "untuned"
        if self.tried[key].refused:
            return self.tried[key].refused
        gained, won = self.gain(key), self._won.get(key, 0.0)
        if gained >= LEAST and won >= MOST:
            return ""
        return NOT_GAINED.format(gained=gained, won=won, least=LEAST, most=MOST)

    def fits(self, key: _Key) -> bool:
        return not self.refused(key)

    def gain(self, key: _Key) -> float:
        return self._gains.get(key, 0.0)

    def best(self) -> _Key:
        return max(filter(self.fits, self.built), key=self.gain, default=())

    def told(self, key: _Key, kept: _Key) -> Try:
        one = self.tried[key]
        reason = "" if key == kept else self.refused(key) or SLOWER
        return Try(one.flags, self._gains.get(key), reason)

    def _refuse(self, key: _Key, reason: str) -> None:
        self.tried[key] = Try(dict(key), self._gains.get(key), reason)

    def _run(self, keys: list[_Key], rounds: int) -> list[Measured]:
        found = [self.every[key].executable for key in keys]
        return self._tuner.run(found, self._made, self._target, rounds)

    def _runs(self, key: _Key) -> bool:
        """Does it run at all? A choice that ends the process must not end the others."""
        try:
            self._run([key], 0)
        except PluginError as error:
            if not key:
                raise
            self._refuse(key, NOT_RUN.format(reason=_short(error)))
            return False
        return True


def inputs(made: Structure) -> list[tuple[tuple[str, tuple[int, ...]], bytes]]:
    """Small numbers for every leaf of the input: of normal size, or 0 and 1; always the same."""
    generator = np.random.default_rng(0)
    found = []
    for leaf in made.inputs():
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        drawn = (
            generator.standard_normal(leaf.shape)
            if floating
            else generator.integers(0, 2, leaf.shape)
        )
        found.append(((str(leaf.dtype), leaf.shape), drawn.astype(leaf.dtype).tobytes()))
    return found


def disagreement(found: list[tuple[str, bytes]], wanted: list[tuple[str, bytes]]) -> str:
    """Why outputs are not those of the untuned executable; empty where they are.

    Numbers of a floating dtype may be ULPS ulps of the largest of their output apart; infinities
    and what is not a number must be where they were, and whole numbers must be equal.
    """
    for (dtype, ours), (_, theirs) in zip(found, wanted, strict=True):
        if ours == theirs:
            continue
        kind = jnp.dtype(dtype)
        if not jnp.issubdtype(kind, jnp.floating):
            return NOT_EQUAL
        a, b = (np.frombuffer(data, kind).astype(np.float64) for data in (ours, theirs))
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return NOT_AGREED.format(ulps=np.inf, most=ULPS)
        a, b = a[finite], b[finite]
        ulp = float(jnp.finfo(kind).eps) * np.abs(b).max(initial=float(jnp.finfo(kind).tiny))
        apart = np.abs(a - b).max(initial=0) / ulp
        if not apart <= ULPS:
            return NOT_AGREED.format(ulps=apart, most=ULPS)
    return ""


def _unfit(target: Target) -> str:
    """Why a target can not be run here; empty where it can."""
    if target.platform != "cpu":
        return f"only those of the CPU can, and this is one of {target.platform}"
    lacking = sorted(set(target.features) - set(machine.here().features))
    return f"this machine lacks {' '.join(lacking)}" if lacking else ""


def _short(error: PluginError) -> str:
    """What an error says, of files their names alone: how deep they lie hides no reason."""
    return re.sub(r"(?<!\S)/\S*/", "", " ".join(str(error).split()))[:300]
