"""Find a PJRT plugin, and know its digest without reading its 200 MB every time."""

from __future__ import annotations

import hashlib
import json
import os
import sys

from serve import errors
from serve.errors import PluginError
from serve.runtime import cache

# Known packages that carry a CPU plugin, as the path of the library under a folder of sys.path.
# They are never imported. Each has a single author: a bundle names a plugin by digest only.
KNOWN = (
    "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
    "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so",
)
VARIABLE = "LAMDA_PJRT_PLUGIN"
_MEMORY = "plugins.json"


class Plugin:
    """A shared library that exports `GetPjrtApi`, by its path and its digest."""

    __slots__ = ("_digest", "path")

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self._digest = ""

    def __repr__(self) -> str:
        return f"Plugin({self.path!r})"

    @property
    def digest(self) -> str:
        """`sha256:...` of the file, remembered for as long as the file is untouched."""
        if not self._digest:
            self._digest = _digest(self.path)
        return self._digest


def find(explicit: str | None = None) -> Plugin | None:
    """The plugin at `explicit`, else at $LAMDA_PJRT_PLUGIN, else the first known on sys.path.

    Raises:
        PluginError: a path was given, and no file is there.
    """
    for source, path in (("plugin=", explicit), (VARIABLE, os.environ.get(VARIABLE))):
        if path:
            if not os.path.isfile(path):
                raise PluginError(errors.PLUGIN_MISSING.format(source=source, path=path))
            return Plugin(path)
    for folder in sys.path:
        for relative in KNOWN:
            path = os.path.join(folder, relative)
            if os.path.isfile(path):
                return Plugin(path)
    return None


def _digest(path: str) -> str:
    status = os.stat(path)
    stamp = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    memory = _remembered()
    if path in memory and memory[path][:-1] == stamp:
        return memory[path][-1]
    hasher = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    digest = "sha256:" + hasher.hexdigest()
    cache.write(_MEMORY, json.dumps({**memory, path: [*stamp, digest]}).encode())
    return digest


def _remembered() -> dict[str, list]:
    """Path to [dev, inode, size, mtime_ns, ctime_ns, digest]; empty where it can not be read."""
    try:
        memory = json.loads(cache.read(_MEMORY) or b"{}")
    except ValueError:
        return {}
    return memory if isinstance(memory, dict) else {}
