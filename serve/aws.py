"""A bundle on AWS Lambda: `python -m serve.aws DIR`, or the function `serve.aws.handler`.

An event is either the request itself, as JSON, answered by the answer as JSON; or an HTTP
request in format 2.0 (API Gateway, function URL), answered as serve.http answers.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import sys
from binascii import a2b_base64, b2a_base64

from serve.errors import BundleError, RequestError
from serve.forms import JSON
from serve.http import failure, respond

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from serve.aws_runtime import RuntimeApi
    from serve.handler import Handler
    from serve.http import Response

MOST = 6_291_556  # bytes of an answer that Lambda takes


def __getattr__(name: str) -> Callable[[Any, Any], Any]:
    """`serve.aws.handler`, loaded from LAMDA_BUNDLE when Lambda first asks for it."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault("handler", make_handler(_load()))


def make_handler(handler: Handler) -> Callable[[Any, Any], Any]:
    """The Lambda function `f(event, context)` of a handler."""

    def function(event: Any, context: Any) -> Any:
        return json.loads(invoke(handler, json.dumps(event).encode()))

    return function


def invoke(handler: Handler, event: bytes) -> bytes:
    """The JSON of the answer to the JSON of an event.

    Raises:
        RequestError: an event that is not HTTP is not a value of the input type.
    """
    # A request is passed on unread: only what may be an HTTP event is looked into first.
    http = _http(event) if b'"requestContext"' in event else None
    if http is None:
        return _fitting(handler(event))
    try:
        return _fitting(_result(_respond(handler, http)))
    except RequestError as error:
        return _result(failure(handler, error))


def _http(event: bytes) -> dict[str, Any] | None:
    """The event, if it is an HTTP request."""
    try:
        value = json.loads(event)
    except (ValueError, RecursionError):
        return None  # the handler says what is wrong with it
    context = value.get("requestContext") if isinstance(value, dict) else None
    return value if isinstance(context, dict) and "http" in context else None


def _respond(handler: Handler, event: dict[str, Any]) -> Response:
    context, text = event["requestContext"], event.get("body") or ""
    body = text.encode("utf-8", "surrogatepass")  # the handler refuses what is not Unicode
    if event.get("isBase64Encoded"):
        try:
            body = a2b_base64(body, strict_mode=True)
        except ValueError:
            raise RequestError("expected a body in base64, as isBase64Encoded says") from None
    path = event.get("rawPath", "/").removeprefix(f"/{context.get('stage')}") or "/"
    return respond(handler, context["http"]["method"], path, event.get("headers") or {}, body)


def _result(response: Response) -> bytes:
    status, headers, content = response
    plain = headers["content-type"] == JSON
    body = (content if plain else b2a_base64(content, newline=False)).decode()
    result = {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": not plain}
    return json.dumps(result).encode()


def _fitting(answer: bytes) -> bytes:
    if len(answer) > MOST:
        text = f"the answer has {len(answer)} bytes, Lambda takes {MOST}: send fewer rows"
        raise RequestError(text, 413)
    return answer


def run(load: Callable[[], Handler]) -> NoReturn:
    """Answer events for as long as Lambda has any; `load` is called once, before the first."""
    from serve.aws_runtime import RuntimeApi

    try:
        address = _variable(
            "AWS_LAMBDA_RUNTIME_API", "HOST:PORT, as Lambda and its emulator set it"
        )
    except BundleError as error:
        raise SystemExit(f"serve: {error}") from None
    api = RuntimeApi(address)
    try:
        handler = load()
    except Exception as error:
        _fail(api, "init", error, str(error))
        raise SystemExit(1) from error
    while True:
        event, name = api.next()
        try:
            answer = invoke(handler, event)
        except RequestError as error:
            _fail(api, f"invocation/{name}", error, str(error))
        except Exception as error:
            # The caller gets the name of the failure, only the log gets its story.
            import traceback

            print(f"request {name} failed:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            _fail(api, f"invocation/{name}", error, f"internal error, request {name}")
        else:
            api.post(f"invocation/{name}/response", answer)


def _fail(api: RuntimeApi, what: str, error: Exception, message: str) -> None:
    kind = type(error).__name__
    body = json.dumps({"errorMessage": message, "errorType": kind}).encode()
    api.post(f"{what}/error", body, **{"Lambda-Runtime-Function-Error-Type": kind})


def _load(directory: str | None = None) -> Handler:
    """The handler, with every program loaded: what is done before the first event is quickest.

    Lambda gives 10 s for that. Where a bundle has many programs and needs few, LAMDA_WARM=0 leaves
    each to its first request.
    """
    directory = directory or _variable("LAMDA_BUNDLE", "the directory of a bundle")
    import serve
    from serve import log

    handler = serve.load(directory)
    if os.environ.get("LAMDA_WARM") != "0":
        handler.engine.warm()
    log.started("lambda", handler)
    return handler


def _variable(name: str, expected: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise BundleError(f"{name} is not set: expected {expected}")
    return value


if __name__ == "__main__":
    run(lambda: _load(*sys.argv[1:2]))
