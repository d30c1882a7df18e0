"""What answers in a process apart (campaign.Apart), which imports no more than it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from memory import doubling

from serve.http.routes import respond
from serve.openwhisk import make_main
from serve.ray import Composition


def action() -> Callable[[Any], Any]:
    """An action of OpenWhisk."""
    return make_main(doubling(max_bytes=1000))


class Here:
    """A part in this process, with the one method of a handle that a composition calls."""

    def __init__(self, handler: Any) -> None:
        self.respond = self
        self.handler = handler

    async def remote(self, *asked: Any) -> Any:
        return respond(self.handler, *asked)


def composition() -> Callable[..., Any]:
    """A composition of Ray Serve, without a cluster."""
    parts = Composition([Here(doubling()), Here(doubling(max_bytes=1000))])

    def ask(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Any:
        return asyncio.run(parts.respond(method, path, headers, body))

    return ask
