"""A bundle on Google Cloud Functions: `functions-framework --source serve/gcp.py --target http`.

`http` answers requests, and events as `serve.cloudevents` does. `event` is for functions of the
signature `cloudevent`, whose results Google drops: it hands each answer to `deliver`. Cloud Run
needs neither, but `python -m serve DIR --host 0.0.0.0 --port $PORT`.

Source: https://cloud.google.com/functions/docs/writing
"""

from __future__ import annotations

import json
from binascii import a2b_base64

from serve import cloudevents, errors
from serve.body.lists import shown
from serve.errors import RequestError
from serve.http.refusal import refused
from serve.http.routes import failure
from serve.trace import identify

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from serve.handler import Handler
    from serve.http.routes import Response

    Deliver = Callable[[cloudevents.Event, Response], None]

PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"


def __getattr__(name: str) -> Callable[[Any], Any]:
    """`serve.gcp.http` and `serve.gcp.event`, of LAMDA_BUNDLE, when first asked for."""
    if name not in ("http", "event"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve.start import load

    handler = load("gcp")
    globals().update(http=make_http(handler), event=make_event(handler))
    return globals()[name]


def make_http(handler: Handler) -> Callable[[Any], tuple[bytes, int, dict[str, str]]]:
    """The function `f(request)` of a handler, for a request of flask."""

    def http(request: Any) -> tuple[bytes, int, dict[str, str]]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        identify(headers)
        # Read no further than it may be long; one byte more is what the handler refuses.
        body = b"" if request.method == "GET" else request.stream.read(handler.max_bytes + 1)
        if len(body) > handler.max_bytes:
            error = RequestError(errors.LONG.format(most=handler.max_bytes), 413)
            response = refused(handler, request.method, request.path, headers, error)
        else:
            response = cloudevents.respond(
                handler, request.method, request.path, headers, body, request_of
            )
        status, found, content = response
        return content, status, found

    return http


def make_event(handler: Handler, deliver: Deliver | None = None) -> Callable[[Any], None]:
    """The function `f(event)` of a handler, for a CloudEvent of the package cloudevents.

    `deliver(event, response)` is called with each answer, and with each refusal: an event that is
    wrong stays wrong, so it is taken and not delivered again. Left out, it is a line of the log.
    """
    deliver = deliver or _log

    def event(given: Any) -> None:
        found = _event(given)
        headers = {"content-type": found.content_type} if found.content_type else {}
        try:
            body = request_of(found)
        except RequestError as error:
            return deliver(found, failure(handler, error))
        from serve.http.routes import respond

        response = respond(handler, "POST", "/", headers, body)
        if response[0] >= 500:
            raise RuntimeError(response[2].decode())  # Google delivers the event again
        return deliver(found, response)

    return event


def request_of(event: cloudevents.Event) -> bytes:
    """The request in an event: its data, or what was published as a message of Pub/Sub.

    Raises:
        RequestError: there is no message where it should be.
    """
    if event.attributes["type"] != PUBLISHED:
        return event.data
    from serve.body.codec import parse
    from serve.body.forms import JSON

    value = parse(event.data, JSON)
    message = value.get("message") if type(value) is dict else None
    data = message.get("data") if type(message) is dict else None
    try:
        return a2b_base64(data or "", strict_mode=True)
    except (TypeError, ValueError):
        text = 'expected the base64 of a request in "message"."data" of the event'
        raise RequestError(f"{text}, got {shown(data)}") from None


def _event(given: Any) -> cloudevents.Event:
    attributes = {name: str(value) for name, value in given.get_attributes().items()}
    data, form = given.get_data(), attributes.get("datacontenttype")
    if isinstance(data, str):
        data = data.encode()
    elif not isinstance(data, bytes):
        data = b"" if data is None else json.dumps(data).encode()
    return cloudevents.Event(attributes, form, data, structured=False)


def _log(event: cloudevents.Event, response: Response) -> None:
    """One line of JSON, which Cloud Logging reads by its fields."""
    status, headers, body = response
    text = body.decode() if headers["content-type"] == "application/json" else f"{len(body)} bytes"
    said = {
        "severity": "INFO" if status == 200 else "ERROR",
        "message": f"event {event.attributes['id']}: {text}",
        "event": event.attributes["id"],
        "status": status,
        "address": headers["lamda-address"],
    }
    print(json.dumps(said), flush=True)
