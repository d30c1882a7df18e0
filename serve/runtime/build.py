"""Compile a program for a target, which may be another machine, in a process of its own.

    python -m serve.runtime.build JOB.json

It prints one line of JSON: what the plugin says of the executable.
"""

from __future__ import annotations

import os
import sys

from serve import errors
from serve.errors import PluginError
from serve.runtime import apart, options, topology
from serve.runtime.api import Api
from serve.runtime.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.runtime.plugins import Plugin


class Built:
    """An executable, and what the plugin says of it."""

    __slots__ = ("executable", "said")

    def __init__(self, executable: bytes, said: dict[str, Any]) -> None:
        self.executable = executable
        self.said = said


def compile_program(
    stablehlo: bytes,
    plugin: Plugin,
    *,
    processor: Mapping[str, str] | None = None,
    topology: tuple[str, Mapping[str, str]] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Built:
    """The executable of a StableHLO program for `plugin`, by default for this machine.

    `processor` is another processor of this architecture (`topology.retargeted`), `topology` the
    name and options of devices that need not be here, `flags` those of XLA_FLAGS without `--`.
    What is said of it: `platform`, PJRT `version`, `device` and `cost`.

    Executables are not deterministic: two builds of one program differ in their bytes.

    Raises:
        PluginError: the plugin can not be loaded, refuses the program or the target, or dies.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="lamda-build-") as folder:
        source, made = os.path.join(folder, "in.mlir"), os.path.join(folder, "out.pjrt")
        with open(source, "wb") as file:
            file.write(stablehlo)
        said = apart.ask("serve.runtime.build", folder, {
            "plugin": plugin.path, "stablehlo": source, "executable": made,
            "processor": processor, "topology": topology, "flags": flags or {},
        })  # fmt: skip
        if "error" in said:
            raise PluginError(errors.BUILD_FAILED.format(path=plugin.path, reason=said["error"]))
        with open(made, "rb") as file:
            return Built(file.read(), said)


def _compiled(job: dict[str, Any]) -> dict[str, Any]:
    with open(job["stablehlo"], "rb") as file:
        stablehlo = file.read()
    flags = options.encode(job["flags"])
    if job["topology"]:
        api = Api(job["plugin"])
        chosen = topology.named(api, *job["topology"])
        executable = chosen.compile(stablehlo, flags)
    else:
        client = Client(job["plugin"])
        api, chosen = client.api, topology.own(client)
        if job["processor"]:
            chosen = topology.retargeted(client, job["processor"])
            executable = chosen.compile(stablehlo, flags)
        else:
            executable = client.executable(client.compile(stablehlo, flags))
    with open(job["executable"], "wb") as file:
        file.write(executable.serialise())
    return {
        "platform": chosen.platform, "version": api.version, "device": chosen.kind,
        "cost": executable.cost(),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(apart.answer(_compiled, sys.argv[1]))
