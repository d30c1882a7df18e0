"""The REST half of the protocol: its paths.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import json
import re

from serve.errors import RequestError
from serve.http import etag
from serve.http.routes import READ, failure, response_of
from serve.v2 import answer, model, request
from serve.v2.infer import infer
from serve.watch import READY

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.handler import Handler
    from serve.http.routes import Response

    About = tuple[int, dict[str, Any]]

NO_PATH = (
    "no such path: expected GET /v2, /v2/health/live, /v2/health/ready, /v2/models/NAME, "
    "/v2/models/NAME/versions/ADDRESS, /ready after either, or POST with /infer after either"
)
_MODEL = re.compile(
    r"/v2/models/(?P<name>.+?)(/versions/(?P<version>[^/]+))?(?P<action>/infer|/ready)?", re.S
)


def respond(
    handler: Handler, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Response:
    """The status, headers and body that answer an HTTP request; names of headers in lower case.

    Raises:
        RequestError: something is wrong with the request; `serve.http.routes` answers what it says.
    """
    about = _server(handler, path) or _model(handler, path)
    allowed = ("POST",) if about is None else READ
    if method not in allowed:
        error = RequestError(f"no such method here: expected {' or '.join(allowed)}", 405)
        status, more, said = failure(handler, error)
        return status, {**more, "allow": ", ".join(allowed)}, said
    if about is not None:
        status, value = about
        return response_of(handler, status, json.dumps(value).encode())
    tag = etag.of((handler.bundle.address, headers.get(request.LENGTH, "")), body)
    if etag.matches(headers.get("if-none-match"), tag):
        return response_of(handler, 304, b"", {"etag": tag})
    asked = request.read(headers, body, handler.max_bytes)
    given = infer(handler, asked.tensors, [name for name, _ in asked.outputs])
    content, more = answer.write(handler.bundle, given, asked)
    return response_of(handler, 200, content, more | {"etag": tag})


def _server(handler: Handler, path: str) -> About | None:
    """The status and the value that a path of the server answers."""
    if path in ("/v2", "/v2/"):
        return 200, model.server()
    if path == "/v2/health/live":
        return 200, {"live": True}
    if path == "/v2/health/ready":
        return _ready(handler, {})
    return None


def _model(handler: Handler, path: str) -> About | None:
    """What a path of the model answers; None for the one that takes requests."""
    found = _MODEL.fullmatch(path)
    if found is None:
        raise RequestError(NO_PATH, 404)
    model.check(handler, found["name"], found["version"])
    if found["action"] == "/ready":
        return _ready(handler, {"name": handler.bundle.name})
    return None if found["action"] else (200, model.model(handler))


def _ready(handler: Handler, about: dict[str, Any]) -> About:
    ready = handler.watch.state == READY
    return 200 if ready else 503, {**about, "ready": ready}
