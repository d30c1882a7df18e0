"""Peers as processes: start one, wait for its first answer, then time its calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np

from peers import environments
from peers.models import CACHE, ROOT, Case

HERE = Path(__file__).resolve().parent


class Sample(NamedTuple):
    """One cold start."""

    seconds: float
    """From before the process is started to the last byte of its first answer."""
    busy: float
    """Seconds of processor time until then, of all threads: it does not feel other processes."""
    peak: float
    """The most memory that was ever resident, in MB: VmHWM."""


class Way(Protocol):
    """Any way to a first answer."""

    def ready(self, case: Case) -> AbstractContextManager[Callable[[], Sample]]:
        """What must be there before, and then each cold start: start, check the answer, end."""
        ...


class Peer(NamedTuple):
    """A program of this folder, and the environment that it runs in."""

    environment: str
    """A file of `requirements`; "" for the interpreter that runs this."""
    program: str
    more: Sequence[str] = ()
    """What follows FOLDER, BATCH and SPEC on the command line; `{folder}` is filled in."""
    environ: Mapping[str, str] = {}
    json: bool = False
    """Is the answer JSON, or the numbers themselves?"""

    @contextmanager
    def ready(self, case: Case) -> Iterator[Callable[[], Sample]]:
        """Nothing but files has to be there before a cold start."""
        yield partial(self._cold, case)

    def _cold(self, case: Case) -> Sample:
        command, environ = self.command(case), variables() | dict(self.environ)
        begun = time.perf_counter()
        with started(command, environ) as (_, back, process):
            answer = _first(back)
            seconds = time.perf_counter() - begun
            sample = taken(process.pid, seconds)
        self._check(answer, case)
        return sample

    @contextmanager
    def running(self, case: Case) -> Iterator[Callable[[int], float]]:
        """A function that makes so many calls, and says how many seconds each took."""
        with started(self.command(case), variables() | dict(self.environ)) as (to, back, _):
            self._check(_first(back), case)

            def timed(calls: int) -> float:
                to.write(b"%d\n" % calls)
                to.flush()
                return int(back.readline()) / calls / 1e9

            yield timed

    def command(self, case: Case) -> list[str]:
        """The command line."""
        interpreter = environments.python(self.environment) if self.environment else sys.executable
        more = [each.format(folder=case.folder) for each in self.more]
        program = [interpreter, str(HERE / self.program)]
        return [*program, str(case.folder), str(case.batch), case.spec, *more]

    def _check(self, answer: bytes, case: Case) -> None:
        case.check(numbers(answer) if self.json else answer)


@contextmanager
def started(
    command: Sequence[str], environ: Mapping[str, str]
) -> Iterator[tuple[IO[bytes], IO[bytes], subprocess.Popen[bytes]]]:
    """A process, what to write to it and what to read from it; it ends with the block.

    Raises ChildProcessError with what it said, where it ends by itself.
    """
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, stderr=said)
        assert process.stdin and process.stdout
        try:
            with process.stdin, process.stdout:
                yield process.stdin, process.stdout, process
        except (EOFError, ValueError, OSError) as error:
            process.wait(60)
            said.seek(0)
            text = said.read().decode("utf-8", "replace")[-2000:]
            raise ChildProcessError(f"{' '.join(command)}: {error}\n{text}") from error
        finally:
            process.terminate()  # it has answered: how it would end is not what is measured
            process.wait(60)


def variables() -> dict[str, str]:
    """The environment variables of every peer: this repository's serve, and a cache of our own."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "LAMDA_CACHE": str(CACHE / "cache")}


def numbers(answer: bytes) -> bytes:
    """The bytes of the float32 array that an answer in JSON spells."""
    return np.array(json.loads(answer), np.float32).tobytes()


def taken(pid: int, seconds: float) -> Sample:
    """The sample of a process that has just answered, and waits."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    busy = sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return Sample(seconds, busy, int(peak.split()[1]) * 1024 / 1e6)


def _first(back: IO[bytes]) -> bytes:
    line = back.readline()
    if not line:
        raise EOFError("it ended without an answer")
    return back.read(int(line))
