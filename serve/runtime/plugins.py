"""Find a PJRT plugin, and know its digest without reading its 200 MB every time."""

from __future__ import annotations

import os
import sys

from serve import errors
from serve.errors import PluginError
from serve.runtime import digests

# Known packages that carry a CPU plugin, as the path of the library under a folder of sys.path.
# They are never imported. Each has a single author: a bundle names a plugin by digest only.
KNOWN = (
    "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
    "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so",
)
VARIABLE = "LAMDA_PJRT_PLUGIN"


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
            self._digest = digests.digest(self.path)
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
