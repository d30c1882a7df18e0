"""Run the programs of a bundle, by the safest fast way that this machine offers.

1. `executable`: a plugin is here, and an executable of the bundle is for it and for this machine.
2. `compiled`: a plugin is here, but something differs: compile the StableHLO, and keep the result.
3. `jax`: no plugin, but jax is installed.
4. Otherwise a PluginError that says what to install.
"""

from __future__ import annotations

from _thread import allocate_lock

from serve import errors
from serve.bundle.manifest import nbytes
from serve.errors import PluginError, RequestError, ServeError
from serve.runtime import digests, elf, limits, plugins
from serve.runtime.client import Client
from serve.runtime.native import Native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from serve.bundle import Bundle
    from serve.runtime.fallback import Fallback, FallbackProgram
    from serve.runtime.plugins import Plugin
    from serve.runtime.program import Program, Spec

PASSED_OVER = "Passed over {path}: {reason}"
PREFERRED = "The bundle is for {platform} first, and no plugin for it was found."


def open(bundle: Bundle, plugin: str | None = None) -> Engine:
    """`open(bundle)(index, inputs)` is `bundle.programs[index]` on those inputs.

    `plugin` is the path of a PJRT plugin; else $LAMDA_PJRT_PLUGIN is one; else the bundle has one,
    or a known package is installed, for a platform of its executables or for the CPU. Of those
    that were not named, one that finds no device here is passed over, and a note says so.

    Raises:
        PluginError: nothing here can run a program, or the plugin that was named can not.
        BundleError: a weights file is not what the manifest says.
    """
    chosen = plugins.named(plugin)
    if chosen is not None:
        limits.check(chosen.path)
        elf.check(chosen.path)
        return Engine(bundle, Native(bundle, chosen, Client(chosen.path)))
    notes: list[str] = []
    for found in _found(bundle):
        limits.check(found.path)  # not passed over: any other way takes more
        try:
            elf.check(found.path)
            client = Client(found.path)
        except PluginError as reason:
            notes.append(PASSED_OVER.format(path=found.path, reason=reason))
        else:
            first = bundle.platforms[0]
            if client.platform != first and not notes:
                notes.append(PREFERRED.format(platform=first))
            return Engine(bundle, Native(bundle, found, client, notes))
    from serve.runtime import fallback

    if fallback.available():
        return Engine(bundle, fallback.Fallback(bundle, notes))
    known = " or ".join(path for name in bundle.platforms for path in plugins.KNOWN.get(name, ()))
    text = errors.NO_PLUGIN.format(name=bundle.name, known=known)
    raise PluginError(" ".join([text, *notes]))


def _found(bundle: Bundle) -> Iterator[Plugin]:
    """The plugins in the bundle, then those that are installed."""
    for carried in bundle.plugins:
        yield plugins.Plugin(digests.checked(bundle, carried["file"]), carried["file"]["digest"])
    yield from plugins.installed(bundle.platforms)


class Engine:
    """A bundle that can be run. Calls may come from any number of threads at once.

    A program is loaded when it is first called, or by `warm`. Do not fork a process that has one.
    """

    __slots__ = ("_loaded", "_lock", "_runner", "_sizes", "bundle")

    def __init__(self, bundle: Bundle, runner: Native | Fallback) -> None:
        self.bundle = bundle
        self._runner = runner
        self._lock = allocate_lock()
        self._loaded: dict[int, Program | FallbackProgram] | None = {}
        self._sizes: dict[int, list[int]] = {}

    @property
    def way(self) -> str:
        """`executable`, `compiled` or `jax`: the slowest way that any program takes."""
        return self._runner.way

    @property
    def why(self) -> str:
        """Why it is that way, in a sentence."""
        return self._runner.why

    @property
    def plugin(self) -> str | None:
        """The path of the plugin, where one runs the bundle."""
        return self._runner.plugin.path if isinstance(self._runner, Native) else None

    @property
    def notes(self) -> list[str]:
        """What else a person should know."""
        return self._runner.notes

    def __call__(
        self, index: int, inputs: Sequence[bytes | memoryview]
    ) -> list[tuple[str, tuple[int, ...], bytes]]:
        """The (dtype, shape, data) of every output leaf of `bundle.programs[index]`.

        `inputs` are the input leaves in type order, each dense, row-major, little-endian and of
        exactly the shape in `bundle.inputs(index)`.

        Raises:
            RequestError: another number of inputs, or of bytes in one.
            BundleError: the program's file is not what the manifest says.
            PluginError: the plugin failed.
        """
        program = self._program(index)
        sizes = self._sizes[index]
        if len(inputs) != len(sizes):
            raise RequestError(
                errors.WRONG_COUNT.format(
                    index=index, name=self.bundle.name, expected=len(sizes), found=len(inputs)
                )
            )
        data = [part if type(part) is bytes else bytes(part) for part in inputs]
        for position, size in enumerate(sizes):
            if len(data[position]) != size:
                raise RequestError(
                    errors.WRONG_BYTES.format(
                        position=position, index=index, name=self.bundle.name,
                        expected=size, found=len(data[position]),
                    )
                )  # fmt: skip
        return program(data)

    def output_shapes(self, index: int) -> list[Spec]:
        """The (dtype, shape) of every output leaf, without running. Raises as a call does."""
        return self._program(index).outputs

    def warm(self) -> None:
        """Load every program now. Raises as a call does."""
        for index in range(len(self.bundle.programs)):
            self._program(index)

    def close(self) -> None:
        """Let go of everything; no call may be under way, and none may follow."""
        with self._lock:
            loaded, self._loaded = self._loaded, None
        if loaded is not None:
            for program in loaded.values():
                program.close()
            self._runner.close()

    def _program(self, index: int) -> Program | FallbackProgram:
        loaded = self._loaded
        if loaded is None:
            raise ServeError(errors.CLOSED.format(name=self.bundle.name))
        program = loaded.get(index)
        if program is None:
            with self._lock:
                program = loaded.get(index)
                if program is None:
                    program = self._runner.load(index)
                    self._sizes[index] = [nbytes(*spec) for spec in program.inputs]
                    loaded[index] = program
        return program
