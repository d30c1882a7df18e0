"""`python -m serve DIR` as a peer: the first answer is that of an HTTP request."""

from __future__ import annotations

import http.client
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from peers import environments
from peers.models import Case
from peers.processes import Sample, numbers, started, taken, variables

AGAIN = 0.0005
"""Seconds until a server that is not there yet is asked again."""
PATIENCE = 60
"""Seconds after which it is given up."""


class Served(NamedTuple):
    """A bundle of the model's folder, served; the server is what is started."""

    bundle: str

    @contextmanager
    def ready(self, case: Case) -> Iterator[Callable[[], Sample]]:
        """Nothing but files has to be there before a cold start."""
        yield partial(self._cold, case)

    def _cold(self, case: Case) -> Sample:
        port, body = _free_port(), _body(case)
        command = _command(case, self.bundle, "--port", str(port))
        begun = time.perf_counter()
        with started(command, variables()) as (_, _, process):
            connected = _connected(lambda: socket.create_connection(("127.0.0.1", port), PATIENCE))
            with connected:
                answer = _ask(connected, body)
                sample = taken(process.pid, time.perf_counter() - begun)
        case.check(numbers(answer))
        return sample


class Forked(NamedTuple):
    """A bundle of the model's folder in a fork server; an instance is what is started."""

    bundle: str

    @contextmanager
    def ready(self, case: Case) -> Iterator[Callable[[], Sample]]:
        """The fork server runs before, and until the end."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "socket"))
            command = _command(case, self.bundle, "--fork", path)
            with started(command, variables()) as (_, _, server):
                _connected(lambda: _unix(path)).close()
                yield partial(self._cold, case, path, server.pid)

    def _cold(self, case: Case, path: str, server: int) -> Sample:
        body, begun = _body(case), time.perf_counter()
        with _unix(path) as connected:
            answer = _ask(connected, body)
            seconds = time.perf_counter() - begun
            children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
            sample = taken(int(children[-1]), seconds)  # an instance before may not have left yet
        case.check(numbers(answer))
        return sample


def _command(case: Case, bundle: str, *options: str) -> Sequence[str]:
    interpreter = environments.python("lamda")
    return [interpreter, "-m", "serve", str(case.folder / bundle), *options]


def _connected(connect: Callable[[], socket.socket]) -> socket.socket:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return connect()
        except (ConnectionRefusedError, FileNotFoundError):
            if time.monotonic() > until:
                raise
            time.sleep(AGAIN)


def _body(case: Case) -> bytes:
    return (case.folder / f"b{case.batch}.json").read_bytes()


def _ask(connected: socket.socket, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = connected
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    assert response.status == 200, answer[:1000]
    return answer


def _unix(path: str) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.connect(path)
    except OSError:
        connected.close()
        raise
    return connected


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
