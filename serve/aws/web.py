"""HTTP requests as events: API Gateway in formats 1.0 and 2.0, function URLs, load balancers.

Sources:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

from __future__ import annotations

import json
import os
from binascii import a2b_base64, b2a_base64

from serve.aws import context as invocation
from serve.body.coding import packed
from serve.errors import RequestError
from serve.http.routes import failure, respond

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.handler import Handler
    from serve.http.routes import Response

MOST = 6_291_556  # bytes of an answer that Lambda takes
MOST_BALANCED = 1 << 20  # and a load balancer
TOO_LARGE = "the answer has {found} bytes, {who} takes {most}: send fewer rows"
NOT_BASE64 = "expected a body in base64, as isBase64Encoded says"
NOT_HTTP = "expected {where} of an HTTP event to be {expected}"


def asks(event: dict[str, Any]) -> bool:
    """Is the event an HTTP request?"""
    context = event.get("requestContext")
    return isinstance(context, dict) and ("http" in context or "httpMethod" in event)


def answer(handler: Handler, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
    """The response to an HTTP request, as the gateway takes it. Never raises."""
    balanced = "elb" in event["requestContext"]
    most, who = (MOST_BALANCED, "a load balancer") if balanced else (MOST, "Lambda")
    method = ""
    try:
        method, path, headers, body = read(event, context)
        response = respond(handler, method, path, headers, body)
        result = _result(event, method, packed(response, headers.get("accept-encoding")))
        # A text of JSON grows by its escapes, and by no more than six times.
        if 6 * len(result["body"]) > most and (found := len(json.dumps(result))) > most:
            raise RequestError(TOO_LARGE.format(found=found, who=who, most=most), 413)
    except RequestError as error:
        return _result(event, method, failure(handler, error))
    return result


def read(event: dict[str, Any], context: Any) -> tuple[str, str, dict[str, str], bytes]:
    """The method, path, headers and body of the request.

    Raises:
        RequestError: the event is no HTTP request after all.
    """
    http = event["requestContext"].get("http")
    if http is None:
        method, path = event.get("httpMethod"), event.get("path", "/")
    else:
        method = http.get("method") if isinstance(http, dict) else None
        path = _below(event.get("rawPath", "/"), f"/{event['requestContext'].get('stage')}")
    path = _below(path, os.environ.get("LAMDA_BASE_PATH", "").rstrip("/"))
    headers = invocation.headers(context) | _headers(event)
    if "traceparent" not in headers and (trace := headers.get("x-amzn-trace-id")):
        headers |= _named("traceparent", invocation.traceparent(trace))
    if "%" in path:
        from urllib.parse import unquote

        path = unquote(path)
    return _text(method, "the method"), path, headers, _body(event)


def _below(path: object, prefix: str) -> str:
    """The path without a prefix that is a whole part of it: a stage, or where an API has us."""
    path = _text(path, "the path")
    return (path[len(prefix) :] or "/") if f"{path}/".startswith(f"{prefix}/") else path


def _headers(event: dict[str, Any]) -> dict[str, str]:
    """All headers, names in lower case; of those that come as lists, the values joined."""
    single, lists = event.get("headers") or {}, event.get("multiValueHeaders") or {}
    if not isinstance(single, dict) or not isinstance(lists, dict):
        raise RequestError(NOT_HTTP.format(where="the headers", expected="an object"))
    found = {}
    for name, value in (single | lists).items():
        values = value if isinstance(value, list) else [value]
        found[name.lower()] = ", ".join(_text(each, f"the header {name[:60]}") for each in values)
    return found


def _named(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise RequestError(NOT_HTTP.format(where=where, expected="text"))
    return value


def _body(event: dict[str, Any]) -> bytes:
    text = _text(event.get("body") or "", "the body")
    body = text.encode("utf-8", "surrogatepass")  # the handler refuses what is not Unicode
    if not event.get("isBase64Encoded"):
        return body
    try:
        return a2b_base64(body, strict_mode=True)
    except ValueError:
        raise RequestError(NOT_BASE64) from None


def _result(event: dict[str, Any], method: str, response: Response) -> dict[str, Any]:
    status, headers, content = response
    content = b"" if method == "HEAD" else content
    plain = _plain(headers)
    body = (content if plain else b2a_base64(content, newline=False)).decode()
    result = {"statusCode": status, "body": body, "isBase64Encoded": not plain}
    if "elb" in event["requestContext"]:
        from serve.http.wire import REASONS

        result["statusDescription"] = f"{status} {REASONS.get(status, '')}".rstrip()
        if "multiValueHeaders" in event:  # which must be answered by such
            lists = {name: [value] for name, value in headers.items()}
            return result | {"multiValueHeaders": lists}
    return result | {"headers": headers}


def _plain(headers: dict[str, str]) -> bool:
    """Is the body text in UTF-8?"""
    form = headers.get("content-type", "").partition(";")[0]
    text = form.startswith("text/") or form.endswith(("json", "xml"))
    return text and "content-encoding" not in headers
