"""The executables of a bundle: one for each target, keyed by all that they depend on.

Their bytes differ from build to build, so what names one is its key: the digests of the program
and the plugin, the target, the machine, and the flags. What was built for a key is not built again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from lamda import errors
from lamda.compile import manifest
from lamda.compile.files import File, Files, whole
from lamda.compile.targets import Target
from serve import bundle
from serve.runtime import build, plugins
from serve.runtime.build import Built
from serve.runtime.plugins import Plugin

Entry = dict[str, Any]
Flags = dict[str, str]
TUNED = "tuned"


class Executables:
    """Builds executables, and finds those that a directory has."""

    def __init__(self, files: Files) -> None:
        self.built = 0
        self.plugins: dict[str, Plugin] = {}
        """The plugin that each platform was compiled by."""
        self._files = files
        self._there = {entry.get("key", ""): entry for entry in _entries(files.root)}

    def entry(
        self, code: bytes, program: File, target: Target, flags: Flags, made: Built | None = None
    ) -> Entry | None:
        """The EXECUTABLE of a program, built now unless it is there or ``made``.

        None where the CPU has no plugin here. Raises SpecError where another platform has none;
        PluginError.
        """
        plugin = self.plugin(target)
        if plugin is None:
            return None
        inputs = _inputs(plugin, target, flags)
        key = _key(inputs, program)
        there = self._there.get(key)
        if there is not None:
            path = self._files.root / there["file"]["path"]
            if whole(path, there["file"]["digest"]):
                self._files.copy("executables", path, ".pjrt")
                return {name: value for name, value in there.items() if name != TUNED}
        made = made or self.build(code, target, flags)
        return {
            **inputs,
            "key": key,
            "file": self._files.add("executables", [made.executable], ".pjrt"),
            "plugin": {"digest": plugin.digest, "version": made.said["version"]},
            "device": made.said["device"],
            "cost": made.said["cost"],
        }

    def build(self, code: bytes, target: Target, flags: Flags) -> Built:
        """The executable itself. Raises PluginError; SpecError where the plugin is for another."""
        plugin = self.plugin(target)
        assert plugin is not None
        made = build.compile_program(
            code,
            plugin,
            processor=target.processor,
            topology=target.topology,
            flags=dict(target.flags) | flags,
        )
        if made.said["platform"] != target.platform:
            raise _no_plugin(target)
        self.built += 1
        return made

    def tuned(self, program: File, target: Target) -> Flags | None:
        """The flags that tuning once found for this program, plugin and target, in this place."""
        plugin = self.plugin(target)
        for key, entry in self._there.items():
            flags = entry.get("flags", {})
            same = plugin is not None and key == _key(_inputs(plugin, target, flags), program)
            if same and entry.get(TUNED) is True:
                return flags
        return None

    def plugin(self, target: Target) -> Plugin | None:
        """The plugin that compiles for a target; None where the CPU has none here."""
        found = self.plugins.get(target.platform) or plugins.find(platforms=[target.platform])
        if found is None:
            if target.platform == "cpu":
                return None
            raise _no_plugin(target)
        return self.plugins.setdefault(target.platform, found)


def _no_plugin(target: Target) -> errors.SpecError:
    text = errors.NO_TARGET_PLUGIN.format(target=target.name, platform=target.platform)
    return errors.SpecError(text)


def _inputs(plugin: Plugin, target: Target, flags: Flags) -> Entry:
    """What an executable depends on, beside the program."""
    return {
        "target": target.name,
        "platform": target.platform,
        "plugin": {"digest": plugin.digest},
        "machine": {"arch": target.arch, "features": list(target.features)},
        "flags": flags,
    }


def _key(inputs: Entry, program: File) -> str:
    named = manifest.canonical({**inputs, "program": program["digest"]})
    return f"sha256:{hashlib.sha256(named).hexdigest()}"


def _entries(root: Path) -> list[Entry]:
    """The executables of the bundle that is there, if one is."""
    try:
        entries = json.loads((root / "manifest.json").read_bytes())
        return [entry for program in bundle.programs(entries) for entry in program["executables"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return []
