"""An ASGI application around a handler. What is answered is said by serve.http.routes.

Plain ASGI, since a framework would cost more than the rest of the answer.
"""

from __future__ import annotations

import os
from time import perf_counter

from serve import errors
from serve.errors import RequestError
from serve.http.refusal import refused
from serve.http.routes import respond, route
from serve.trace import passed_on
from serve.watch import STOPPING

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from serve.handler import Handler
    from serve.http.routes import Response

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    App = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]

MOST = 1024  # requests under way at a time, each of which may be as large as one may be
THREADS = min(32, (os.cpu_count() or 1) + 4)  # of asyncio, that compute at a time
WITH_BODY = ("/", "/feedback", "/v2")  # routes that a body is read for
SMALL = 65_536  # bytes of a request that may be answered without a thread


def make_app(handler: Handler, respond: Callable[..., Response] = respond) -> App:
    """The ASGI application of a handler; `respond` is what answers a request that was read."""
    import asyncio

    from serve.body.coding import packed
    from serve.deadline import Deadline, late
    from serve.trace import identify

    under_way = computing = 0

    async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(handler, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1003})
        method, headers = scope["method"], _headers(scope)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        identify(headers)
        if method == "POST" and path == "/stream":
            return await _stream(handler, headers, receive, send)
        where = route(path)
        if method != "POST" or where not in WITH_BODY:
            return await send_response(send, whole(method, path, headers, b""))
        began, declared = perf_counter(), _declared(headers)
        try:
            # What is too long anyhow is not even asked for.
            first = {} if declared > handler.max_bytes else await soon(receive)
            body = b"" if first.get("more_body") else first.get("body")
            if body and len(body) <= SMALL and handler.watch.quick(where, len(body)):
                response = whole(method, path, headers, body)
            else:
                response = await slowly(path, headers, declared, first, receive)
        except _Gone:
            return None
        except RequestError as error:
            response = refused(handler, method, path, headers, error, perf_counter() - began)
        await send_response(send, response)

    def whole(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        response = respond(handler, method, path, headers, body)
        return packed(response, headers.get("accept-encoding"))

    async def soon(receive: Receive) -> Mapping[str, Any]:
        """The first piece of a body: who sends none is not waited for without end."""
        try:
            async with asyncio.timeout(handler.max_seconds):
                return await receive()
        except TimeoutError:
            raise late(handler.max_seconds) from None

    async def slowly(
        path: str,
        headers: Mapping[str, str],
        declared: int,
        first: Mapping[str, Any],
        receive: Receive,
    ) -> Response:
        """The answer to a POST that may be large, or take long, or come in pieces."""
        nonlocal under_way
        if under_way >= MOST:
            raise RequestError(errors.CROWDED.format(most=MOST), 503)
        under_way += 1
        try:
            async with asyncio.timeout(handler.max_seconds):
                body = await _read(declared, first, receive, handler.max_bytes)
                # In a thread, so that a long call holds up neither health checks nor uploads: a
                # plugin lets other threads run while it computes. The hop costs 0.3 ms, measured
                # on two busy cores, which is why what is known to be quick does without.
                with Deadline(handler.max_seconds):
                    return await threaded(path, headers, body)
        except TimeoutError:
            raise late(handler.max_seconds) from None
        finally:
            under_way -= 1

    async def threaded(path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """The answer, from a thread of its own beside those of others."""
        nonlocal computing
        computing += 1
        handler.watch.beside = min(computing, THREADS)
        try:
            return await asyncio.to_thread(whole, "POST", path, headers, body)
        finally:
            computing -= 1
            handler.watch.beside = max(1, min(computing, THREADS))

    return app


async def _stream(handler: Handler, headers: dict[str, str], receive: Receive, send: Send) -> None:
    """POST /stream, counted as every request is."""
    from serve.stream import http

    began, status, sent = perf_counter(), 200, 0

    async def counted(message: dict[str, Any]) -> None:
        nonlocal status, sent
        if message["type"] == "http.response.start":
            status = message["status"]
            message["headers"] += _pairs(passed_on(headers))
        else:
            sent += len(message.get("body", b""))
        await send(message)

    await http.respond(handler, headers, receive, counted)
    seconds = perf_counter() - began
    handler.watch.count("/stream", "POST", status, seconds, 0, sent)
    handler.watch.tell("POST", "/stream", headers, status, seconds, 0, sent)


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}


class _Gone(Exception):
    """The client went away before its request was complete."""


def _declared(headers: Mapping[str, str]) -> int:
    """How many bytes the headers say that the body has; 0, where they say nothing."""
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 19 else 0


async def _read(declared: int, first: Mapping[str, Any], receive: Receive, most: int) -> bytes:
    """The body of a request, of which one piece is here, read no further than it may be long."""
    pieces: list[bytes] = []
    size, read, message = declared, 0, first
    while size <= most:
        if message["type"] == "http.disconnect":
            raise _Gone
        pieces.append(message.get("body", b""))
        read += len(pieces[-1])
        size = max(declared, read)
        if not message.get("more_body", False):
            break
        message = await receive()
    if size > most:
        raise RequestError(errors.LONG.format(most=most), 413)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def send_response(send: Send, response: Response) -> None:
    """Send a whole response."""
    status, headers, body = response
    await send({"type": "http.response.start", "status": status, "headers": _pairs(headers)})
    await send({"type": "http.response.body", "body": body})


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _lifespan(handler: Handler, receive: Receive, send: Send) -> None:
    while True:
        phase = (await receive())["type"]
        if phase == "lifespan.shutdown":
            handler.watch.state = STOPPING
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
