"""A bundle on AWS Lambda: `python -m serve.aws DIR`, or the function `serve.aws.handler`.

An event is either the request itself, as JSON, answered by the answer as JSON; or an HTTP
request in format 2.0 (API Gateway, function URL), answered as serve.http answers.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import base64
import json
import os
import sys
import traceback

from serve.errors import BundleError, RequestError
from serve.http import respond

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPConnection
    from typing import Any, NoReturn

    from serve.handler import Handler

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
    answer = handler(event) if http is None else json.dumps(_respond(handler, http)).encode()
    if len(answer) > MOST:
        text = f"the answer has {len(answer)} bytes, Lambda takes {MOST}: send fewer rows"
        raise RequestError(text, 413)
    return answer


def _http(event: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(event)
    except (ValueError, RecursionError):
        return None  # the handler says what is wrong with it
    context = value.get("requestContext") if isinstance(value, dict) else None
    return value if isinstance(context, dict) and "http" in context else None


def _respond(handler: Handler, event: dict[str, Any]) -> dict[str, Any]:
    context, text = event["requestContext"], event.get("body") or ""
    # What neither base64 nor UTF-8 can mean becomes bytes that the handler refuses.
    body = text.encode("utf-8", "surrogatepass")
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body
    path = event.get("rawPath", "/").removeprefix(f"/{context.get('stage')}") or "/"
    headers = event.get("headers") or {}
    status, headers, content = respond(handler, context["http"]["method"], path, headers, body)
    plain = headers["content-type"] == "application/json"
    return {
        "statusCode": status,
        "headers": headers,
        "body": content.decode() if plain else base64.b64encode(content).decode(),
        "isBase64Encoded": not plain,
    }


def run(load: Callable[[], Handler]) -> NoReturn:
    """Answer events for as long as Lambda has any."""
    from http.client import HTTPConnection

    api = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = load()
    except Exception as error:
        _post(api, "init/error", _failure(error), type(error).__name__)
        raise SystemExit(1) from error
    while True:
        api.request("GET", "/2018-06-01/runtime/invocation/next")
        response = api.getresponse()
        event, name = response.read(), response.headers["Lambda-Runtime-Aws-Request-Id"]
        try:
            answer = invoke(handler, event)
        except Exception as error:
            if not isinstance(error, RequestError):
                print(f"request {name} failed:\n{traceback.format_exc()}", file=sys.stderr)
            _post(api, f"invocation/{name}/error", _failure(error), type(error).__name__)
        else:
            _post(api, f"invocation/{name}/response", answer)


def _failure(error: Exception) -> bytes:
    return json.dumps({"errorMessage": str(error), "errorType": type(error).__name__}).encode()


def _post(api: HTTPConnection, path: str, body: bytes, failure: str | None = None) -> None:
    headers = {"Content-Type": "application/json"}
    if failure is not None:
        headers["Lambda-Runtime-Function-Error-Type"] = failure
    api.request("POST", f"/2018-06-01/runtime/{path}", body, headers)
    api.getresponse().read()


def _load(directory: str | None = None) -> Handler:
    directory = directory or os.environ.get("LAMDA_BUNDLE")
    if not directory:
        raise BundleError("LAMDA_BUNDLE is not set: expected the directory of a bundle")
    import serve

    return serve.load(directory)


if __name__ == "__main__":
    run(lambda: _load(*sys.argv[1:2]))
