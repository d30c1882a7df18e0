"""Answers of function URLs as they come: LAMDA_STREAMING=1, where InvokeMode is RESPONSE_STREAM.

Such an answer may have 200 MB, and each line of POST /stream is sent as soon as it is computed.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

from __future__ import annotations

import json
from itertools import chain

from serve.aws import web
from serve.errors import RequestError
from serve.http.routes import failure, logged, respond
from serve.trace import passed_on

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from serve.handler import Handler

HEADERS = {
    "Lambda-Runtime-Function-Response-Mode": "streaming",
    "Content-Type": "application/vnd.awslambda.http-integration-response",
}


def pieces(handler: Handler, event: dict[str, Any], context: Any = None) -> Iterator[bytes]:
    """The response to an HTTP request: what comes before the body, and the body. Never raises."""
    try:
        method, path, headers, body = web.read(event, context)
        if (method, path) == ("POST", "/stream"):
            yield from _stream(handler, headers, body)
            return
        status, fields, content = respond(handler, method, path, headers, body)
        content = b"" if method == "HEAD" else content
    except RequestError as error:
        status, fields, content = failure(handler, error)
    except Exception:  # of the first line of a stream: nothing is said yet
        name = getattr(context, "aws_request_id", None)
        status, fields, content = failure(handler, RequestError(logged(name), 500))
    yield _prelude(status, fields)
    if content:
        yield content


def _stream(handler: Handler, headers: Mapping[str, str], body: bytes) -> Iterator[bytes]:
    """A stream of answers. Raises RequestError where the request is wrong from its first line."""
    talk = handler.talk(headers.get("content-type"), headers.get("accept"))
    answers = chain(talk.feed(body), talk.end())
    first = next(answers)
    yield _prelude(200, {
        "content-type": talk.content_type, "x-content-type-options": "nosniff",
        "lamda-address": handler.bundle.address, **passed_on(headers),
    })  # fmt: skip
    yield first
    try:
        yield from answers
    except RequestError as error:
        yield talk.failed(str(error))
    except Exception:
        yield talk.failed(logged(headers.get("x-request-id")))


def _prelude(status: int, headers: Mapping[str, str]) -> bytes:
    return json.dumps({"statusCode": status, "headers": headers}).encode() + bytes(8)
