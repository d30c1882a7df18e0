"""A web action: OpenWhisk makes arguments of a request of HTTP, and a response of its result.

Source: https://github.com/apache/openwhisk/blob/master/docs/webactions.md
"""

from __future__ import annotations

import json
import os
from binascii import a2b_base64, b2a_base64

from serve.body.forms import JSON, UNSAID
from serve.body.lists import shown
from serve.errors import RequestError
from serve.http.refusal import refused
from serve.http.routes import failure, respond
from serve.trace import identify

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.handler import Handler
    from serve.http.routes import Response

    Object = dict[str, Any]

ACTIVATION = "__OW_ACTIVATION_ID"  # in the environment
MOST = 1 << 20  # bytes of a result that OpenWhisk takes
LONG = f"the answer has {{size}} bytes, OpenWhisk takes {MOST}: send fewer rows"


def web(handler: Handler, args: Object) -> Object:
    """The answer of a web action, which OpenWhisk makes a response of HTTP."""
    method = str(args["__ow_method"]).upper()
    path = f"/{str(args.get('__ow_path') or '').lstrip('/')}"
    headers = args.get("__ow_headers")
    headers = headers if isinstance(headers, dict) else {}
    headers = {str(name).lower(): str(value) for name, value in headers.items()}
    headers = named() | headers
    identify(headers)
    try:
        body = _body(headers, args)
    except RequestError as error:
        return _response(refused(handler, method, path, headers, error))
    found = respond(handler, method, path, headers, body)
    if len(found[2]) > MOST * 3 // 4:  # as base64 it is a third longer
        found = failure(handler, RequestError(LONG.format(size=len(found[2])), 413))
    return _response(found)


def named() -> dict[str, str]:
    """The header with the name that OpenWhisk has for this request."""
    return {"x-request-id": os.environ.get(ACTIVATION, "")}


def _body(headers: dict[str, str], args: Object) -> bytes:
    """The body: in base64 where OpenWhisk takes it for binary, which JSON is too."""
    text = args.get("__ow_body")
    if text is None:  # not raw: OpenWhisk has read an object, and made arguments of it
        return as_json(args["value"]) if "value" in args else b""
    if not isinstance(text, str):
        raise RequestError(f"expected a text in __ow_body, got {shown(text)}")
    plain = text.encode("utf-8", "surrogatepass")  # the handler refuses what is not Unicode
    form = headers.get("content-type", "").partition(";")[0].strip().lower()
    if form.startswith("text/") or form == UNSAID:
        return plain
    try:
        return a2b_base64(plain, strict_mode=True)
    except ValueError:
        return plain  # as gateways in front of OpenWhisk send it


def as_json(value: Any) -> bytes:
    """A value of the arguments as a request.

    Raises:
        RequestError: JSON has no such value.
    """
    try:
        return json.dumps(value).encode()
    except (RecursionError, TypeError, ValueError) as error:
        raise RequestError(f"the request is not JSON: {error}") from None


def _response(response: Response) -> Object:
    status, headers, content = response
    form = headers["content-type"]
    plain = form == JSON or form.startswith("text/")  # OpenWhisk takes others from base64
    body = (content if plain else b2a_base64(content, newline=False)).decode()
    kept = {name: value for name, value in headers.items() if name != "content-length"}
    return {"statusCode": status, "headers": kept, "body": body}
