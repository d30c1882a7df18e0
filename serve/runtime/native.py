"""The way through a plugin: load the bundle's executable where that is safe, else compile.

Loading bytes that are for another plugin, another processor, or damaged, can end the process with
a signal. So the digest of the plugin, the features of the machine and the digest of the bytes are
compared first, and anything that differs is a reason to compile the StableHLO instead.
"""

from __future__ import annotations

import hashlib

from serve.errors import BundleError, PluginError
from serve.runtime import cache, machine
from serve.runtime.client import COMPILE_OPTIONS, Client
from serve.runtime.program import Program
from serve.runtime.weights import Weights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from serve.bundle import Bundle
    from serve.runtime.plugins import Plugin

FITS = "The bundle's executable is for this plugin and this machine."
COMPILED = "Compiled from StableHLO by {path}: {reason}."
NO_EXECUTABLE = "the bundle has no executable for platform {platform}"
OTHER_PLUGIN = "the executable is for the plugin {expected}, this one is {found}"
OTHER_ARCH = "the executable is for {expected}, this machine is {found}"
LACKING = "the executable needs {lacking}, which this machine lacks"
FLAGS = "XLA_FLAGS={flags!r} was not read: a flag that XLA does not know would end the process."
DIGEST = hashlib.sha256().digest_size


class Native:
    """A bundle in a plugin."""

    __slots__ = ("_bundle", "_machine", "client", "notes", "plugin", "way", "weights", "why")

    def __init__(self, bundle: Bundle, plugin: Plugin) -> None:
        self._bundle = bundle
        self.plugin = plugin
        self._machine = machine.here()
        self.client = Client(plugin.path)
        self.notes = [] if self.client.flags is None else [FLAGS.format(flags=self.client.flags)]
        self.weights = Weights(self.client, bundle)
        self.way, self.why = "executable", FITS
        for program in bundle.programs:
            _, reason = self._choose(program)
            if reason:
                self._explain(reason)

    def load(self, index: int) -> Program:
        """The program with that index, ready to run.

        Raises:
            BundleError: neither its executable nor its StableHLO is what the manifest says.
            PluginError: the plugin refuses to compile the StableHLO.
        """
        program = self._bundle.programs[index]
        chosen, _ = self._choose(program)
        loaded = self._load(chosen) if chosen else None
        if loaded is None:
            loaded = self._compile(program["stablehlo"])
        return Program(self.client, loaded, self.weights.buffers, self._bundle.inputs(index))

    def close(self) -> None:
        """Let go of the weights and the client; the programs must be closed before."""
        self.weights.close()
        self.client.close()

    def _choose(self, program: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """The first executable that fits here, else None and why the last one does not."""
        reason = NO_EXECUTABLE.format(platform=self.client.platform)
        for entry in program["executables"]:
            if entry["platform"] == self.client.platform:
                reason = self._differs(entry)
                if not reason:
                    return entry, ""
        return None, reason

    def _differs(self, entry: dict[str, Any]) -> str:
        """Why an executable must not be loaded here; empty where it may."""
        expected, found = entry["plugin"]["digest"], self.plugin.digest
        if expected != found:
            return OTHER_PLUGIN.format(expected=expected, found=found)
        wanted = entry["machine"]
        if wanted["arch"] != self._machine.arch:
            return OTHER_ARCH.format(expected=wanted["arch"], found=self._machine.arch)
        lacking = sorted(set(wanted["features"]) - set(self._machine.features))
        return LACKING.format(lacking=" ".join(lacking)) if lacking else ""

    def _load(self, entry: dict[str, Any]) -> int | None:
        """The executable of the bundle; None, and the reason kept, where it turns out damaged."""
        try:
            return self.client.load(self._bundle.content(entry["file"]))
        except (BundleError, PluginError) as reason:
            self._explain(str(reason).rstrip("."))
            return None

    def _compile(self, stablehlo: dict[str, Any]) -> int:
        """The StableHLO compiled here, now or before."""
        key = self._key(stablehlo["digest"])
        kept = cache.read(key) or b""
        digest, executable = kept[:DIGEST], kept[DIGEST:]
        if executable and hashlib.sha256(executable).digest() == digest:
            try:
                return self.client.load(executable)
            except PluginError:
                pass  # a cache may be wrong: compile again
        loaded = self.client.compile(self._bundle.content(stablehlo))
        executable = self.client.serialise(loaded)
        cache.write(key, hashlib.sha256(executable).digest() + executable)
        return loaded

    def _key(self, program: str) -> str:
        """The name of an executable in the cache: all that it depends on."""
        here = self._machine
        parts = [program, self.plugin.digest, here.arch, *here.features, COMPILE_OPTIONS.hex()]
        return f"compiled/{hashlib.sha256(' '.join(parts).encode()).hexdigest()}.pjrt"

    def _explain(self, reason: str) -> None:
        """Remember the first reason to compile."""
        if self.way == "executable":
            self.way = "compiled"
            self.why = COMPILED.format(path=self.plugin.path, reason=reason)
