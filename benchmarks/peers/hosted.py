"""HTTP servers as peers: start a fresh one, wait for its first answer, load it, end all of it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from peers import environments
from peers.processes import HERE, variables

PATIENCE = 90


class Server(NamedTuple):
    """A server, and the request that it is loaded with."""

    environment: str
    command: Sequence[str]
    """What follows the interpreter; `{port}` is filled in."""
    body: bytes
    check: Callable[[bytes], None]
    """AssertionError where an answer is wrong."""
    content_type: str = "application/json"
    path: str = "/"
    environ: Mapping[str, str] = {}

    @contextmanager
    def running(self) -> Iterator[Running]:
        """A fresh process, once it has answered rightly; the block's end is its end."""
        port = free_port()
        command = [environments.python(self.environment)]
        command += [part.format(port=port) for part in self.command]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                command, cwd=HERE, env=variables() | dict(self.environ), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            try:
                self._await(port, process, log)
                yield Running(port, process, log)
            finally:
                _end(process)

    def _await(self, port: int, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.check(ask(port, self.path, self.content_type, self.body))
                return
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    said = "\n".join(Running(port, process, log).said()[-40:])
                    raise ChildProcessError(f"{process.args}:\n{said}") from None
                time.sleep(0.02)


class Running(NamedTuple):
    """A server that answers."""

    port: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def said(self) -> list[str]:
        """The lines that it wrote so far."""
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace").splitlines()

    def busy(self) -> float:
        """Seconds of processor time that all its processes have taken."""
        return sum(_busy(pid) for pid in family(self.process.pid))


def ask(port: int, path: str, content_type: str, body: bytes) -> bytes:
    """One answer. OSError where the server is not there yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        answer = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
    if response.status in (500, 502, 503):  # its workers are not there yet
        raise ConnectionError(answer[:500])
    assert response.status == 200, (response.status, answer[:1000])
    return answer


def family(first: int) -> list[int]:
    """A server and all that it started, in whatever sessions and groups they are."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended while we looked
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], [first]
    while left:
        found.append(left.pop())
        left += parents.get(found[-1], [])
    return found


def _busy(pid: int) -> float:
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        return 0.0


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and then whatever is left of what it started."""
    started = family(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """A port of loopback that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
