"""An engine for after the fork, and a rehearsal of it in a child that comes first."""

from __future__ import annotations

import json
import os

from serve.errors import PluginError, ServeError
from serve.fork.children import fork, how
from serve.runtime import digests, engine
from serve.runtime.api import Api
from serve.runtime.client import Client
from serve.runtime.native import Native
from serve.runtime.plugins import Plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from serve.bundle import Bundle
    from serve.handler import Handler

BY_JAX = "{name} would run by jax, which can not be forked: {why} Install a plugin."
ENDED = "the first instance of {name} ended by {how}: it can not be run here"


class Later:
    """An engine that every child opens for itself, since the process that forks must not."""

    __slots__ = ("_api", "_bundle", "_opened", "_parent", "_plugin", "_wanted")

    def __init__(self, bundle: Bundle, plugin: str | None) -> None:
        self._bundle = bundle
        self._wanted = plugin
        self._plugin: Plugin | None = None
        self._api: Api | None = None
        self._opened: engine.Engine | None = None
        self._parent = os.getpid()

    def prepare(self, path: str) -> None:
        """Do once what the engines of all children need: hash the plugin and open its library.

        Raises:
            PluginError: it can not be opened.
            BundleError: a weights file is not what the manifest says.
        """
        self._plugin = Plugin(path)
        assert self._plugin.digest
        for pack in self._bundle.packs:
            digests.checked(self._bundle, pack)
        self._api = Api(path)

    def open(self) -> engine.Engine:
        """The engine of this process. Raises as `engine.open` does."""
        if self._opened is None:
            assert os.getpid() != self._parent, "a process that has an engine can not be forked"
            if self._plugin is None or self._api is None:
                self._opened = engine.open(self._bundle, self._wanted)
            else:
                native = Native(self._bundle, self._plugin, Client(self._api))
                self._opened = engine.Engine(self._bundle, native)
        return self._opened

    def __call__(self, index: int, inputs: list[bytes]) -> Any:
        return self.open()(index, inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.open(), name)


def rehearse(handler: Handler, later: Later) -> dict[str, Any]:
    """How the engine runs here, as a first instance tells; `later` is then ready for others.

    Raises:
        ServeError: it could not answer, or died.
    """
    reader, writer = os.pipe()
    try:
        pid = fork(lambda: os.write(writer, _rehearsal(handler, later)))
    finally:
        os.close(writer)
    with open(reader, "rb") as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    if status or not said:
        raise ServeError(ENDED.format(name=handler.bundle.name, how=how(status)))
    told = json.loads(said)
    if "error" in told:
        raise ServeError(told["error"])
    if told["way"] == "jax":
        raise PluginError(BY_JAX.format(name=handler.bundle.name, why=told["why"]))
    later.prepare(told.pop("plugin"))
    return told


def _rehearsal(handler: Handler, later: Later) -> bytes:
    try:
        opened = later.open()
        opened.warm()
        if handler.bundle.example is not None:
            handler.answer(json.dumps(handler.bundle.example).encode())
    except ServeError as error:
        return json.dumps({"error": str(error)}).encode()
    return json.dumps({**handler.describe()["runtime"], "plugin": opened.plugin}).encode()
