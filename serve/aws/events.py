"""The JSON of an event to the JSON of its answer, whatever kind of event it is."""

from __future__ import annotations

import json

from serve.aws import web
from serve.aws.web import MOST, TOO_LARGE
from serve.deadline import Deadline
from serve.errors import LATE_EVENT, RequestError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from serve.handler import Handler

    Answer = Callable[[Handler, dict[str, Any], Any], Any]

MARGIN = 100  # milliseconds to hand over an answer in, before Lambda ends the process
MARKS = (b'"requestContext"', b'"Records"', b'"detail-type"')
TOO_DEEP = "the event is nested too deeply: expected a few levels"
UNKNOWN = "expected records of aws:sqs, aws:kinesis, aws:dynamodb, aws:sns or aws:s3, got {found}"


def make_handler(handler: Handler) -> Callable[[Any, Any], Any]:
    """The Lambda function `f(event, context)` of a handler."""

    def function(event: Any, context: Any) -> Any:
        answer = _kind(event) if isinstance(event, dict) else None
        try:
            with within(context):
                if answer is not None:
                    return answer(handler, event, context)
                return json.loads(_direct(handler, json.dumps(event).encode()))
        except RecursionError:
            raise RequestError(TOO_DEEP) from None

    return function


def invoke(handler: Handler, event: bytes, context: Any = None) -> bytes:
    """The JSON of the answer to the JSON of an event.

    Raises:
        RequestError: an event that is not HTTP is not a value of the input type.
    """
    # A request is passed on unread: only what may be an event of AWS is looked into first.
    value = _object(event) if any(mark in event for mark in MARKS) else {}
    answer = _kind(value)
    with within(context):
        if answer is None:
            return _direct(handler, event)
        return _written(answer, handler, value, context)


def http(event: bytes) -> dict[str, Any] | None:
    """The event, if it is an HTTP request."""
    value = _object(event) if MARKS[0] in event else {}
    return value if web.asks(value) else None


def within(context: Any) -> Deadline:
    """As long as the invocation may still take."""
    left = getattr(context, "get_remaining_time_in_millis", lambda: float("inf"))
    return Deadline((left() - MARGIN) / 1000, LATE_EVENT)


def _written(answer: Answer, handler: Handler, event: dict[str, Any], context: Any) -> bytes:
    try:
        return _fitting(json.dumps(answer(handler, event, context)).encode())
    except RecursionError:
        raise RequestError(TOO_DEEP) from None


def _object(event: bytes) -> dict[str, Any]:
    try:
        value = json.loads(event)
    except (ValueError, RecursionError):
        return {}  # the handler says what is wrong with it
    return value if isinstance(value, dict) else {}


def _kind(event: dict[str, Any]) -> Answer | None:
    """What answers an event that has the shape of one of AWS."""
    if web.asks(event):
        return web.answer
    records = event.get("Records")
    if isinstance(records, list) and records and all(isinstance(each, dict) for each in records):
        return _records(records[0].get("eventSource", records[0].get("EventSource")))
    if isinstance(event.get("detail-type"), str) and "detail" in event:
        from serve.aws import bridge

        return bridge.answer
    return None


def _records(source: object) -> Answer | None:
    """What answers the records of a source; nothing does where they are no records at all."""
    if not isinstance(source, str):
        return None
    from serve.aws import records, s3

    sources: dict[str, Answer] = {
        "aws:sqs": records.queue,
        "aws:kinesis": records.shard,
        "aws:dynamodb": records.shard,
        "aws:sns": records.topic,
        "aws:s3": s3.answer,
    }
    if source not in sources:
        raise RequestError(UNKNOWN.format(found=source[:60]))
    return sources[source]


def _direct(handler: Handler, event: bytes) -> bytes:
    """The answer to an event that is the request, or one of the messages, `"who"`."""
    if event[:1] == b'"' and event[-1:] == b'"' and len(event) < 10:
        return json.dumps(handler(event[1:-1].decode("ascii", "replace"))).encode()
    return _fitting(handler(event))


def _fitting(answer: bytes) -> bytes:
    if len(answer) > MOST:
        text = TOO_LARGE.format(found=len(answer), who="Lambda", most=MOST)
        raise RequestError(text, 413)
    return answer
