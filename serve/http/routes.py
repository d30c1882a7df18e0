"""`respond(handler, method, path, headers, body)` is the answer to an HTTP request.

Every platform comes to this one function. POST / answers a request, POST /stream one line at a
time (docs/bundle.md); POST /feedback keeps a request with its label (docs/data.md). GET / describes
the model, /who, /pred and /succ are its messages, /openapi.json is its types; /healthz, /readyz and
/metrics tell of the process (docs/http.md).
"""

from __future__ import annotations

import json
from time import perf_counter

from serve import errors
from serve.body.forms import JSON
from serve.deadline import Deadline
from serve.errors import RequestError
from serve.http import etag
from serve.trace import fresh, passed_on
from serve.watch import READY

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.handler import Handler

    Response = tuple[int, dict[str, str], bytes]
    Part = tuple[int, bytes, dict[str, str]]

READ = ("GET", "HEAD")
ROUTES = {
    "/": (*READ, "POST"),
    "/stream": ("POST",),
    "/feedback": ("POST",),
    "/who": READ,
    "/pred": READ,
    "/openapi.json": READ,
    "/healthz": READ,
    "/readyz": READ,
    "/metrics": READ,
}


def respond(
    handler: Handler, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Response:
    """The status, headers and body that answer an HTTP request; names of headers in lower case.

    Never raises: what is wrong with a request is a 4xx, and anything else is a bug, and logged.
    """
    began = perf_counter()
    try:
        with Deadline(handler.max_seconds):
            response = _respond(handler, method, path, headers, body)
    except RequestError as error:
        response = failure(handler, error)
    except Exception:
        error = RequestError(logged(headers.get("x-request-id")), 500)
        response = failure(handler, error)
    response[1].update(passed_on(headers))
    seconds = perf_counter() - began
    return answered(handler, method, path, headers, len(body), response, seconds)


def answered(
    handler: Handler,
    method: str,
    path: str,
    headers: Mapping[str, str],
    received: int,
    response: Response,
    seconds: float,
) -> Response:
    """The response, counted and logged; that to HEAD has no body."""
    status, more, _ = response
    if method == "HEAD":
        response = status, more, b""
    sent = len(response[2])
    handler.watch.count(route(path), method, status, seconds, received, sent)
    handler.watch.tell(method, path, headers, status, seconds, received, sent)
    return response


def route(path: str) -> str:
    """The name that a path is counted under: there are few."""
    if path in ROUTES:
        return path
    return "/v2" if _of_v2(path) else "other"


def failure(handler: Handler, error: RequestError) -> Response:
    """The response that tells a client what is wrong with its request."""
    more = {"retry-after": "1"} if error.status == 503 else {}
    return response_of(handler, error.status, _json({"error": str(error)}), more)


def logged(name: str | None = None) -> str:
    """What the client is told of the exception that is handled now: a name. The log has it all."""
    from serve import log

    name = passed_on({"x-request-id": name or ""}).get("x-request-id") or fresh()
    log.failed(name)
    return f"internal error, request {name}"


def _respond(
    handler: Handler, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Response:
    coding = headers.get("content-encoding")
    if coding and body:
        from serve.body.coding import unpacked

        body = unpacked(body, coding, handler.max_bytes)
    if _of_v2(path):
        from serve import v2

        return v2.respond(handler, method, path, headers, body)
    return response_of(handler, *_route(handler, method, path, headers, body))


def _of_v2(path: str) -> bool:
    return path.startswith("/v2") and path[3:4] in ("", "/")


def _route(
    handler: Handler, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Part:
    allowed = ROUTES.get(path)
    if allowed is None:
        text = "no such path: expected POST /, GET / or GET /healthz"
        raise RequestError(errors.NO_SUCC if path == "/succ" else text, 404)
    if method not in allowed:
        text = f"no such method here: expected {' or '.join(allowed)}"
        return 405, _json({"error": text}), {"allow": ", ".join(allowed)}
    if path == "/":
        return (_answer if method == "POST" else _describe)(handler, headers, body)
    if path == "/stream":  # for servers that answer whole bodies alone
        talk = handler.talk(headers.get("content-type"), headers.get("accept"))
        return 200, b"".join((*talk.feed(body), *talk.end())), {"content-type": talk.content_type}
    if path == "/feedback":
        from serve import feedback

        return feedback.answer(handler, headers, body)
    if path == "/healthz":
        return 200, _json({"status": "ok"}), {}
    if path == "/readyz":
        state = handler.watch.state
        if state != READY:
            raise RequestError(errors.NOT_READY[state], 503)
        return 200, _json({"status": state}), {}
    if path == "/metrics":
        from serve.http import metrics

        return 200, metrics.text(handler).encode(), {"content-type": metrics.CONTENT_TYPE}
    if path == "/openapi.json":
        from serve.http.openapi import document

        return _fixed(document(handler), headers)
    return _fixed(handler(path[1:]), headers)  # who, pred


def _answer(handler: Handler, headers: Mapping[str, str], body: bytes) -> Part:
    content_type = headers.get("content-type")
    form, wanted = handler.forms(content_type, headers.get("accept"))
    more = (content_type or "").partition(";")[2]  # the sizes of raw binary
    tag = etag.of((handler.bundle.address, form, more, wanted), body)
    if etag.matches(headers.get("if-none-match"), tag):
        return 304, b"", {"etag": tag}
    answer, said = handler.compute(body, form, wanted, content_type)
    return 200, answer, {"content-type": said, "etag": tag}


def _describe(handler: Handler, headers: Mapping[str, str], _: bytes) -> Part:
    return _fixed(handler.describe(), headers)


def _fixed(value: Any, headers: Mapping[str, str]) -> Part:
    """What is the same for as long as the process lives."""
    body, wanted = _json(value), headers.get("if-none-match")
    tag = etag.of((), body)
    if etag.matches(wanted, tag) or wanted == "*":
        return 304, b"", {"etag": tag}
    return 200, body, {"etag": tag}


def response_of(
    handler: Handler, status: int, body: bytes, more: Mapping[str, str] | None = None
) -> Response:
    """A response with the headers that every answer has."""
    headers = {
        "content-type": JSON,
        "content-length": str(len(body)),
        "x-content-type-options": "nosniff",
        "lamda-address": handler.bundle.address,
    }
    if more:
        headers.update(more)
    if status == 304:  # it would be the length of the answer that the client has
        del headers["content-length"]
    return status, headers, body


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
