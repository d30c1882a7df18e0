"""Find a PJRT plugin, and know its digest without reading its 200 MB every time."""

from __future__ import annotations

import os
import sys

from serve import errors
from serve.errors import PluginError
from serve.runtime import digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Known packages that carry a plugin, by platform, as the path of the library under a folder of
# sys.path. They are never imported. Those for the CPU have a single author each: a bundle names a
# plugin by its digest only.
KNOWN: dict[str, tuple[str, ...]] = {
    "cpu": (
        "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
        "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so",
    ),
    "cuda": (
        "jax_plugins/xla_cuda13/xla_cuda_plugin.so",
        "jax_plugins/xla_cuda12/xla_cuda_plugin.so",
    ),
    "tpu": ("libtpu/libtpu.so",),
}
VARIABLE = "LAMDA_PJRT_PLUGIN"


class Plugin:
    """A shared library that exports `GetPjrtApi`, by its path and its digest."""

    __slots__ = ("_digest", "path")

    def __init__(self, path: str, digest: str = "") -> None:
        self.path = os.path.realpath(path)
        self._digest = digest

    def __repr__(self) -> str:
        return f"Plugin({self.path!r})"

    @property
    def platform(self) -> str:
        """The platform that libraries of this name are for; empty where none is known."""
        name = os.path.basename(self.path)
        known = {os.path.basename(path): of for of, paths in KNOWN.items() for path in paths}
        return known.get(name, "")

    @property
    def digest(self) -> str:
        """`sha256:...` of the file, remembered for as long as the file is untouched."""
        if not self._digest:
            self._digest = digests.digest(self.path)
        return self._digest


def find(explicit: str | None = None, platforms: Sequence[str] = ("cpu",)) -> Plugin | None:
    """The plugin that was named, else the first that is installed for one of the platforms.

    One that $LAMDA_PJRT_PLUGIN names is left out where its name tells that it is for another.

    Raises:
        PluginError: a path was given, and no file is there.
    """
    found = named(explicit)
    if found is not None and (explicit or found.platform in ("", *platforms)):
        return found
    return next(installed(platforms), None)


def named(explicit: str | None = None) -> Plugin | None:
    """The plugin at `explicit`, else at $LAMDA_PJRT_PLUGIN, if either is given.

    Raises:
        PluginError: a path was given, and no file is there.
    """
    for source, path in (("plugin=", explicit), (VARIABLE, os.environ.get(VARIABLE))):
        if path:
            if not os.path.isfile(path):
                raise PluginError(errors.PLUGIN_MISSING.format(source=source, path=path))
            return Plugin(path)
    return None


def installed(platforms: Sequence[str]) -> Iterator[Plugin]:
    """The plugins of the known packages, in the order of the platforms, then of sys.path.

    After those of a platform other than the CPU come all that stand where JAX looks for plugins:
    `jax_plugins/NAME/*.so`.
    """
    for platform in platforms:
        for folder in sys.path:
            for relative in KNOWN.get(platform, ()):
                path = os.path.join(folder, relative)
                if os.path.isfile(path):
                    yield Plugin(path)
        if platform != "cpu":
            yield from _of_jax({path for paths in KNOWN.values() for path in paths})


def _of_jax(known: set[str]) -> Iterator[Plugin]:
    """Libraries in the namespace package that JAX's own discovery reads, but for the known."""
    for folder in sys.path:
        root = os.path.join(folder, "jax_plugins")
        try:
            packages = sorted(os.listdir(root))
        except OSError:
            continue
        for package in packages:
            try:
                names = sorted(os.listdir(os.path.join(root, package)))
            except OSError:
                continue
            for name in names:
                relative = f"jax_plugins/{package}/{name}"
                if name.endswith(".so") and relative not in known:
                    yield Plugin(os.path.join(folder, relative))
