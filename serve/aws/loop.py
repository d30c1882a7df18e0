"""The loop of a Lambda function: ask for an event, answer it, and again.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html
"""

from __future__ import annotations

import json
import os

from serve.aws.api import RuntimeApi
from serve.aws.context import Context
from serve.aws.events import http, invoke, within
from serve.aws.start import variable
from serve.errors import BundleError, RequestError
from serve.http.routes import logged

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from serve.handler import Handler

STREAMING = os.environ.get("LAMDA_STREAMING") == "1"


def run(load: Callable[[], Handler]) -> NoReturn:
    """Answer events for as long as Lambda has any; `load` is called once, before the first."""
    try:
        address = variable("AWS_LAMBDA_RUNTIME_API", "HOST:PORT, as Lambda and its emulator set it")
    except BundleError as error:
        raise SystemExit(f"serve: {error}") from None
    api = RuntimeApi(address)
    try:
        handler = load()
    except Exception as error:
        _fail(api, "init", error, str(error))
        raise SystemExit(1) from error
    while True:
        _answer(api, handler, *api.next())


def _answer(api: RuntimeApi, handler: Handler, event: bytes, context: Context) -> None:
    name = context.aws_request_id
    if STREAMING and (request := http(event)):
        from serve.aws import streaming

        pieces = streaming.pieces(handler, request, context)
        with within(context):
            return api.stream(f"invocation/{name}/response", streaming.HEADERS, pieces)
    try:
        answer = invoke(handler, event, context)
    except RequestError as error:
        _fail(api, f"invocation/{name}", error, str(error))
    except Exception as error:
        # The caller gets the name of the failure, only the log gets its story.
        _fail(api, f"invocation/{name}", error, logged(name))
    else:
        api.post(f"invocation/{name}/response", answer)


def _fail(api: RuntimeApi, what: str, error: Exception, message: str) -> None:
    kind = type(error).__name__
    body = json.dumps({"errorMessage": message, "errorType": kind}).encode()
    api.post(f"{what}/error", body, **{"Lambda-Runtime-Function-Error-Type": kind})
