"""A bundle on Knative: HTTP and CloudEvents, by any of three.

- `python -m serve.knative DIR`, a container that listens at $PORT;
- `uvicorn serve.knative:app`, or any ASGI server, with LAMDA_BUNDLE=DIR;
- `from serve.knative import new`, a function for the tool func.

What is no event is answered as `serve.http` answers it. OpenFaaS needs no more than that.

Source: https://knative.dev/docs/serving/ and https://github.com/knative-extensions/func-python
"""

from __future__ import annotations

import sys

from serve import cloudevents, errors
from serve.errors import RequestError
from serve.http import failure, make_app, send_response

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.handler import Handler
    from serve.http import App, Receive, Send


def __getattr__(name: str) -> App:
    """`serve.knative.app`, of LAMDA_BUNDLE, made when a server first asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve.start import load

    return globals().setdefault("app", with_events(load("knative")))


def with_events(handler: Handler) -> App:
    """The ASGI application of a handler that answers events as well as requests."""
    import asyncio

    from serve.trace import identify

    plain = make_app(handler)

    async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        if scope.get("method") != "POST" or not cloudevents.is_event(headers):
            return await plain(scope, receive, send)
        identify(headers)
        body = await _read(receive, handler.max_bytes)
        if body is None:
            return None
        if len(body) > handler.max_bytes:
            text = errors.LONG.format(most=handler.max_bytes)
            response = failure(handler, RequestError(text, 413))
        else:
            path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
            # In a thread, so that a long call holds up no health check.
            response = await asyncio.to_thread(
                cloudevents.respond, handler, "POST", path, headers, body
            )
        return await send_response(send, response)

    return app


class Function:
    """A function of func-python: what it calls when the process starts, and for each request."""

    def __init__(self) -> None:
        self._app: App | None = None

    def start(self, environment: Mapping[str, str]) -> None:
        """Load the bundle."""
        from serve.start import load

        self._app = with_events(load("knative", environment.get("LAMDA_BUNDLE")))

    def ready(self) -> bool:
        """Is the bundle loaded?"""
        return self._app is not None

    async def handle(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        assert self._app is not None, "func-python starts a function before it asks it"
        await self._app(scope, receive, send)


def new() -> Function:
    """What func-python asks for by this name."""
    return Function()


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    pairs = scope.get("headers", ())
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in pairs}


async def _read(receive: Receive, most: int) -> bytes | None:
    """The body, read little further than it may be long; None where the client went away."""
    body, more = bytearray(), True
    while more and len(body) <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


if __name__ == "__main__":
    from serve.container import run

    sys.exit(run("knative", with_events, sys.argv[1:]))
