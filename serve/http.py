"""An ASGI application around a handler: `uvicorn serve.http:app` with LAMDA_BUNDLE=DIR.

POST / answers a request, POST /stream a line at a time (docs/bundle.md), GET / describes the model,
GET /healthz says that it is there. Plain ASGI, since a framework would cost more than the rest of
the answer.
"""

from __future__ import annotations

import json
import os
import sys

from serve.errors import BundleError, RequestError
from serve.forms import JSON

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from serve.handler import Handler

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    App = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]
    Response = tuple[int, dict[str, str], bytes]

ROUTES = {
    "/": ("GET", "HEAD", "POST"),
    "/stream": ("POST",),
    "/healthz": ("GET", "HEAD"),
}


def __getattr__(name: str) -> App:
    """`serve.http.app`, made when a server first asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    directory = os.environ.get("LAMDA_BUNDLE")
    if not directory:
        raise BundleError("LAMDA_BUNDLE is not set: expected the directory of a bundle")
    import serve
    from serve import log

    handler = serve.load(directory)
    log.started("http", handler)
    return globals().setdefault("app", make_app(handler))


def make_app(handler: Handler) -> App:
    """The ASGI application of a handler."""
    import asyncio

    async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1003})
        method, headers = scope["method"], _headers(scope)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if method == "POST" and path == "/stream":
            from serve.stream import http

            await http.respond(handler, headers, receive, send)
            return None
        if method == "POST" and "POST" in ROUTES.get(path, ()):
            try:
                body = await _read(receive, headers, handler.max_bytes)
            except _Gone:
                return None
            except RequestError as error:
                response = failure(handler, error)
            else:
                # In a thread, so that a long call holds up neither health checks nor uploads: a
                # plugin lets other threads run while it computes. The hop costs 0.3 ms, measured
                # on two busy cores, which only the smallest models would notice.
                response = await asyncio.to_thread(respond, handler, method, path, headers, body)
        else:
            response = respond(handler, method, path, headers, b"")
        await send_response(send, method, response)

    return app


def respond(
    handler: Handler, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Response:
    """The status, headers and body that answer an HTTP request; names of headers in lower case.

    Never raises: what is wrong with a request is a 4xx, and anything else is a bug, and logged.
    """
    try:
        return _response(handler, *_route(handler, method, path, headers, body))
    except RequestError as error:
        return failure(handler, error)
    except Exception:
        return _response(handler, 500, _json({"error": logged()}))


def logged() -> str:
    """What the client is told of the exception that is handled now: a name. The log has it all."""
    import traceback

    name = os.urandom(8).hex()
    print(f"request {name} failed:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    return f"internal error, request {name}"


def failure(handler: Handler, error: RequestError) -> Response:
    """The response that tells a client what is wrong with its request."""
    return _response(handler, error.status, _json({"error": str(error)}))


def _route(
    handler: Handler, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, bytes, dict[str, str]]:
    allowed = ROUTES.get(path)
    if allowed is None:
        raise RequestError("no such path: expected POST /, GET / or GET /healthz", 404)
    if method not in allowed:
        text = f"no such method here: expected {' or '.join(allowed)}"
        return 405, _json({"error": text}), {"allow": ", ".join(allowed)}
    if path == "/healthz":
        return 200, _json({"status": "ok"}), {}
    if method != "POST":
        return 200, _json(handler.describe()), {}
    if path == "/stream":  # for servers that answer whole bodies alone
        talk = handler.talk(headers.get("content-type"), headers.get("accept"))
        return 200, b"".join((*talk.feed(body), *talk.end())), {"content-type": talk.content_type}
    answer, form = handler.answer(body, headers.get("content-type"), headers.get("accept"))
    return 200, answer, {"content-type": form}


def _response(
    handler: Handler, status: int, body: bytes, more: Mapping[str, str] | None = None
) -> Response:
    headers = {
        "content-type": JSON,
        "content-length": str(len(body)),
        "x-content-type-options": "nosniff",
        "lamda-address": handler.bundle.address,
    }
    return status, headers | dict(more or {}), body


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}


class _Gone(Exception):
    """The client went away before its request was complete."""


async def _read(receive: Receive, headers: Mapping[str, str], most: int) -> bytes:
    """The body of a request, read no further than it may be long."""
    declared = headers.get("content-length", "0")
    declared = int(declared) if declared.isdecimal() and len(declared) < 19 else 0
    body, more = bytearray(), True
    while more and max(declared, len(body)) <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if max(declared, len(body)) > most:
        raise RequestError(f"expected at most {most} bytes: send fewer rows at a time", 413)
    return bytes(body)


async def send_response(send: Send, method: str, response: Response) -> None:
    """Send a whole response."""
    status, headers, body = response
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
