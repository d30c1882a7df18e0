"""A replica of a model, and its requests of HTTP as Ray hands them on."""

from __future__ import annotations

import json

from serve import errors
from serve.body.forms import JSON
from serve.trace import identify

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.http.routes import Response


class Model:
    """A replica: a bundle, loaded."""

    def __init__(self, directory: str) -> None:
        from serve.start import load

        self._handler = load("ray", directory)

    async def __call__(self, request: Any) -> Any:
        """Answer a request of HTTP."""
        return await over_http(request, self._handler.max_bytes, self.respond)

    async def respond(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """What `serve.http.respond` gives; in a thread, so that a replica stays alive meanwhile."""
        import asyncio

        from serve.http.routes import respond

        return await asyncio.to_thread(respond, self._handler, method, path, headers, body)

    def max_bytes(self) -> int:
        """Bytes that a request may have."""
        return self._handler.max_bytes


async def over_http(request: Any, most: int, respond: Any) -> Any:
    """The response of starlette to its request."""
    from starlette.responses import (  # pyright: ignore[reportMissingImports]
        Response as HttpResponse,
    )

    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            said = {"error": errors.LONG.format(most=most)}
            status, headers, content = plain(413, said)
            break
    else:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", "")) or "/"
        named = dict(request.headers)
        identify(named)
        status, headers, content = await respond(request.method, path, named, bytes(body))
    return HttpResponse(content, status, headers)


def plain(status: int, value: Any) -> Response:
    """A response that is a value as JSON."""
    body = json.dumps(value).encode()
    return status, {"content-type": JSON, "content-length": str(len(body))}, body
