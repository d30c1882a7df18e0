"""Compile a program for this machine, in a process of its own.

    python -m serve.runtime.build PLUGIN IN.mlir OUT.pjrt

So the XLA of the plugin and the XLA of jaxlib never share a process, and a compiler that dies is
an exception. The command prints one line of JSON: `{"platform": "cpu", "version": "0.115"}`.
"""

from __future__ import annotations

import json
import os
import sys

from serve import errors
from serve.errors import PluginError
from serve.runtime import machine
from serve.runtime.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from serve.runtime.plugins import Plugin

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Built:
    """An executable, and its EXECUTABLE object for the manifest, all but the key `file`."""

    __slots__ = ("entry", "executable")

    def __init__(self, executable: bytes, entry: dict[str, Any]) -> None:
        self.executable = executable
        self.entry = entry


def compile_program(stablehlo: bytes, plugin: Plugin) -> Built:
    """The executable of a StableHLO program for `plugin` and this machine.

    Executables are not deterministic: two builds of one program differ in their bytes.

    Raises:
        PluginError: the plugin can not be loaded, refuses the program, or dies.
    """
    from subprocess import run
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="lamda-build-") as folder:
        source, target = os.path.join(folder, "in.mlir"), os.path.join(folder, "out.pjrt")
        with open(source, "wb") as file:
            file.write(stablehlo)
        command = [sys.executable, "-m", "serve.runtime.build", plugin.path, source, target]
        done = run(command, capture_output=True, text=True, env=_environment(), check=False)
        said = _said(done.stdout)
        if done.returncode != 0 or "version" not in said:
            reason = said.get("error") or _died(done.returncode, done.stderr)
            raise PluginError(errors.BUILD_FAILED.format(path=plugin.path, reason=reason))
        with open(target, "rb") as file:
            return Built(file.read(), _entry(said, plugin))


def _entry(said: dict[str, str], plugin: Plugin) -> dict[str, Any]:
    here = machine.here()
    return {
        "target": f"{said['platform']}:native",
        "platform": said["platform"],
        "plugin": {"digest": plugin.digest, "version": said["version"]},
        "machine": {"arch": here.arch, "features": here.features},
    }


def _environment() -> dict[str, str]:
    """The child finds this serve, whatever else is on the path."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    paths = [ROOT, environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _said(line: str) -> dict[str, str]:
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


def _died(code: int, stderr: str) -> str:
    how = f"the compiler died of signal {-code}" if code < 0 else f"the compiler ended with {code}"
    return f"{how}: {stderr.strip()[-500:]}"


def main(arguments: list[str]) -> int:
    """Compile as the command line says; 0, or 1 after printing `{"error": ...}`."""
    plugin, source, target = arguments
    try:
        client = Client(plugin)
        with open(source, "rb") as file:
            loaded = client.compile(file.read())
        executable = client.serialise(loaded)
    except PluginError as error:
        print(json.dumps({"error": str(error)}))
        return 1
    with open(target, "wb") as file:
        file.write(executable)
    print(json.dumps({"platform": client.platform, "version": client.api.version}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
