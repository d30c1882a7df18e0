"""CloudEvents over HTTP: an event whose data is a request is answered by an event with the answer.

`respond` answers as `serve.http.respond` does, and events too: binary ones, whose attributes are
headers (`ce-id: 7`), and structured ones, a JSON object of the type `application/cloudevents+json`.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import hashlib
import json
from binascii import a2b_base64, b2a_base64

from serve.body.codec import parse
from serve.body.forms import JSON
from serve.body.lists import shown
from serve.errors import RequestError
from serve.http.refusal import refused
from serve.http.routes import respond as respond_http

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from serve.handler import Handler
    from serve.http.routes import Response

STRUCTURED = "application/cloudevents+json"
FAMILY = "application/cloudevents"  # in whatever format, and in batches
ANSWER = "lamda.answer"
REQUIRED = ("id", "source", "type")
KEPT = ("partitionkey", "subject", "traceparent", "tracestate")
"""Attributes that an answer has from its event, where they are there."""
NOT_CARRIED = ("accept-encoding", "content-encoding", "content-length", "if-none-match")
"""Headers that speak of a whole structured event, and not of the data in it."""


class Event:
    """A CloudEvent: its attributes, and its data with their content type."""

    __slots__ = ("attributes", "content_type", "data", "structured")

    def __init__(
        self, attributes: dict[str, str], content_type: str | None, data: bytes, structured: bool
    ) -> None:
        self.attributes = attributes
        self.content_type = content_type
        self.data = data
        self.structured = structured


def respond(
    handler: Handler,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    request: Callable[[Event], bytes] = lambda event: event.data,
) -> Response:
    """The response to an HTTP request that may be an event; names of headers in lower case.

    An event that is refused is answered by an error of HTTP, and by no event: that is what brokers
    look at. `request` is the request that an event has in it. Never raises.
    """
    try:
        if method != "POST" or not is_event(headers):
            return respond_http(handler, method, path, headers, body)
        event = read(headers, body)
        asked = dict(headers)
        if event.structured:
            asked = {k: v for k, v in headers.items() if k not in (*NOT_CARRIED, "content-type")}
        if event.structured and event.content_type is not None:
            asked["content-type"] = event.content_type
        response = respond_http(handler, method, path, asked, request(event))
    except RequestError as error:
        return refused(handler, method, path, headers, error)
    return answer(event, handler.bundle.address, response) if response[0] == 200 else response


def is_event(headers: Mapping[str, str]) -> bool:
    """Do the headers say that a request is an event?"""
    form = headers.get("content-type", "")
    return "ce-specversion" in headers or form.lower().startswith(FAMILY)


def read(headers: Mapping[str, str], body: bytes) -> Event:
    """The event that a request is.

    Raises:
        RequestError: it is none of version 1.0, or its attributes are not what they should be.
    """
    form = headers.get("content-type")
    if form is None or not form.lower().startswith(FAMILY):
        found = {k.removeprefix("ce-"): v for k, v in headers.items() if k.startswith("ce-")}
        return Event(_checked(found), form, body, structured=False)
    if form.partition(";")[0].strip().lower() != STRUCTURED:
        raise RequestError(f"expected an event as {STRUCTURED}, got {shown(form)}", 415)
    value = parse(body, JSON)
    if type(value) is not dict:
        raise RequestError(f"expected an event, an object, got {shown(value)}")
    given = {k: v for k, v in value.items() if k not in ("data", "data_base64") and v is not None}
    attributes = _checked(given)
    form = attributes.get("datacontenttype")
    return Event(attributes, form, _data(value, form), structured=True)


def answer(event: Event, address: str, response: Response) -> Response:
    """The event with an answer, in the mode of the event that it answers.

    Its id is made of that of the event: an event that is delivered twice has one answer.
    """
    status, headers, body = response
    asked = event.attributes
    name = json.dumps([address, asked["source"], asked["id"]])
    attributes = {
        "specversion": "1.0",
        "id": hashlib.sha256(name.encode()).hexdigest()[:32],
        "source": f"urn:lamda:{address}",
        "type": ANSWER,
        **{key: asked[key] for key in KEPT if key in asked},
    }
    if not event.structured:
        return status, {**headers, **{f"ce-{k}": v for k, v in attributes.items()}}, body
    form = headers["content-type"]
    envelope = json.dumps({**attributes, "datacontenttype": form})[:-1].encode()
    if form == JSON:  # as it is: what is read and written again costs time
        body = envelope + b', "data": ' + body + b"}"
    else:
        body = envelope + b', "data_base64": "' + b2a_base64(body, newline=False) + b'"}'
    kept = {k: v for k, v in headers.items() if k not in ("etag", "vary")}
    return status, {**kept, "content-type": STRUCTURED, "content-length": str(len(body))}, body


def _checked(attributes: dict[str, Any]) -> dict[str, str]:
    version = attributes.get("specversion")
    if version != "1.0":
        raise RequestError(f"expected an event with specversion 1.0, got {shown(version)}")
    for key, value in attributes.items():
        if type(value) not in (str, int, bool):
            text = f"{shown(key)}: expected a text as attribute of the event"
            raise RequestError(f"{text}, got {shown(value)}")
    for key in REQUIRED:
        if not attributes.get(key):
            raise RequestError(f'expected an event with "{key}", a text that is not empty')
    return {key: str(value) for key, value in attributes.items()}


def _data(value: dict[str, Any], form: str | None) -> bytes:
    """The data of a structured event."""
    if "data_base64" in value:
        try:
            return a2b_base64(value["data_base64"], strict_mode=True)
        except (TypeError, ValueError):
            raise RequestError('expected base64 in "data_base64" of the event') from None
    data = value.get("data")
    if data is None:
        return b""
    kind = (form or JSON).partition(";")[0].strip().lower()
    if kind == JSON or kind.endswith("+json"):
        return json.dumps(data).encode()
    if type(data) is not str:
        text = f'expected a text in "data" of the event, as datacontenttype is {shown(form)}'
        raise RequestError(f"{text}, got {shown(data)}")
    return data.encode("utf-8", "surrogatepass")  # the handler refuses what is not Unicode
