"""The way through a plugin: load the bundle's executable where that is safe, else compile.

Loading bytes that are for another plugin, another processor, or damaged, can end the process with
a signal. So the digest of the plugin, the features of the machine and the digest of the bytes are
compared first, and anything that differs is a reason to compile the StableHLO instead.
"""

from __future__ import annotations

import hashlib

from serve.errors import BundleError, PluginError
from serve.runtime import agree, cache, machine, options, shim
from serve.runtime.client import Client
from serve.runtime.program import Program
from serve.runtime.weights import Weights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from serve.bundle import Bundle
    from serve.runtime.plugins import Plugin

FITS = "The bundle's executable is for this plugin and this machine."
COMPILED = "Compiled from StableHLO by {path}: {reason}."
NO_EXECUTABLE = "the bundle has no executable for platform {platform}"
OTHER_PLUGIN = "the executable is for the plugin {expected}, this one is {found}"
OTHER_ARCH = "the executable is for {expected}, this machine is {found}"
OTHER_DEVICE = "the executable is for a {expected}, this device is a {found}"
LACKING = "the executable needs {lacking}, which this machine lacks"
FLAGS = "XLA_FLAGS={flags!r} was not read: a flag that XLA does not know would end the process."
OPTIONS = options.encode()
DIGEST = hashlib.sha256().digest_size


class Native:
    """A bundle in a plugin."""

    __slots__ = (
        "_bundle", "_machine", "client", "notes", "plugin", "shim", "way", "weights", "why",
    )  # fmt: skip

    def __init__(
        self, bundle: Bundle, plugin: Plugin, client: Client, notes: Sequence[str] = ()
    ) -> None:
        self._bundle = bundle
        self.plugin = plugin
        self._machine = machine.here()
        self.client = client
        self.notes = [*notes]
        if client.flags is not None:
            self.notes.append(FLAGS.format(flags=client.flags))
        if reason := cache.refusal():
            self.notes.append(reason)
        self.weights = Weights(self.client, bundle)
        self.notes += self.weights.notes
        self.shim = shim.find()
        if client.platform == "cpu" and self.shim.note not in ("", shim.ABSENT):
            self.notes.append(self.shim.note)
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
        chosen, _ = self._choose(self._bundle.programs[index])
        return (self._load(index, chosen["file"]) if chosen else None) or self._compile(index)

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
        if lacking:
            return LACKING.format(lacking=" ".join(lacking))
        device = entry.get("device", self.client.kind)
        if device != self.client.kind:
            return OTHER_DEVICE.format(expected=device, found=self.client.kind)
        return ""

    def _load(self, index: int, file: dict[str, Any]) -> Program | None:
        """The executable of the bundle; None, and the reason kept, where it turns out damaged."""
        try:
            return self._program(index, file, self.client.load(self._bundle.content(file)))
        except (BundleError, PluginError) as reason:
            self._explain(str(reason).rstrip("."))
            return None

    def _compile(self, index: int) -> Program:
        """The StableHLO compiled here, now or before."""
        file = self._bundle.stablehlo(index, self.client.platform)
        key = self._key(file["digest"])
        kept = cache.read(key) or b""
        digest, executable = kept[:DIGEST], kept[DIGEST:]
        if executable and hashlib.sha256(executable).digest() == digest:
            try:
                return self._program(index, file, self.client.load(executable), portable=True)
            except PluginError:
                pass  # a cache may be wrong: compile again
        loaded = self.client.compile(self._bundle.content(file), OPTIONS)
        made = self._program(index, file, loaded, portable=True)
        executable = self.client.serialise(loaded)
        cache.write(key, hashlib.sha256(executable).digest() + executable)
        return made

    def _program(
        self, index: int, file: dict[str, Any], loaded: int, portable: bool = False
    ) -> Program:
        """The program of what was loaded from a file, if it is that of the manifest."""
        try:
            agree.outputs(self._bundle, index, file, self.client.outputs(loaded))
            if not portable:  # which has no second choice
                agree.inputs(self._bundle, index, file, self.client, loaded)
        except BundleError:
            self.client.unload(loaded)
            raise
        return Program(
            self.client, loaded, self.weights.buffers, self._bundle.inputs(index), self.shim
        )

    def _key(self, program: str) -> str:
        """The name of an executable in the cache: all that it depends on."""
        here = self._machine
        parts = [
            program, self.plugin.digest, here.arch, *here.features, self.client.kind, OPTIONS.hex(),
        ]  # fmt: skip
        return f"compiled/{hashlib.sha256(' '.join(parts).encode()).hexdigest()}.pjrt"

    def _explain(self, reason: str) -> None:
        """Remember the first reason to compile."""
        if self.way == "executable":
            self.way = "compiled"
            self.why = COMPILED.format(path=self.plugin.path, reason=reason)
