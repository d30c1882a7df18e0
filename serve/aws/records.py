"""Records of queues, streams and topics: each is a request, and each fails alone.

A queue is told which messages failed, and sends those again. A stream is in order: it is told the
first that failed, and goes on from there. What is left when the time is nearly over counts as
failed, since what Lambda ends in the middle would be sent again as a whole.

Sources:
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html
    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
"""

from __future__ import annotations

import json
import sys
import time
from binascii import a2b_base64

from serve.aws import results
from serve.aws.attributes import plain
from serve.errors import RequestError
from serve.http.routes import logged

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from serve.handler import Handler

    Request = tuple[bytes, str | None] | None

NUMBER = {"kinesis": "sequenceNumber", "dynamodb": "SequenceNumber"}  # names a record of a stream

NO_NAME = "expected {where} to be text, which names a record that failed"
NO_FIELD = "expected {where} in the record"
NOT_BASE64 = "expected {where} of the record to be in base64"


def queue(handler: Handler, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
    """The messages of SQS that failed; of a FIFO queue, the first that did and all after it."""
    names = [_name(record, "messageId") for record in event["Records"]]
    ordered = str(event["Records"][0].get("eventSourceARN")).endswith(".fifo")
    run, failed = _Run(handler, context), []
    for name, record in zip(names, event["Records"], strict=True):
        stopped = failed and ordered
        if stopped or not run(f"sqs/{name}", lambda record=record: _message(record)):
            failed.append(name)
    return _failures(failed)


def shard(handler: Handler, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
    """The first record of a Kinesis or DynamoDB stream that failed; none after it was tried."""
    source = str(event["Records"][0]["eventSource"])
    where, read = ("kinesis", _datum) if source == "aws:kinesis" else ("dynamodb", _image)
    names = [_name(record, where, NUMBER[where]) for record in event["Records"]]
    run = _Run(handler, context)
    for name, record in zip(names, event["Records"], strict=True):
        if not run(f"{where}/{name}", lambda record=record: read(record)):
            return _failures([name])
    return _failures([])


def topic(handler: Handler, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
    """The answers to the messages of SNS.

    Raises:
        RequestError: a message is no request; SNS then sends the event again, or gives it up.
    """
    bodies = [_utf8(_field(record, "Sns", "Message")) for record in event["Records"]]
    return {"answers": [json.loads(handler(body)) for body in bodies]}


class _Run:
    """Answers one record after the other, for as long as there is time for another."""

    def __init__(self, handler: Handler, context: Any) -> None:
        self._handler = handler
        self._left = getattr(context, "get_remaining_time_in_millis", lambda: float("inf"))
        self._longest = 0.0

    def __call__(self, name: str, request: Callable[[], Request]) -> bool:
        """Was the record answered, and the answer kept? The log says why not."""
        if self._left() < 2000 * self._longest:
            return _tell(name, "there is no time left for it: expected a longer timeout")
        start = time.monotonic()
        try:
            self._answer(name, request())
        except RequestError as error:
            return _tell(name, str(error))
        except Exception:
            return _tell(name, logged())
        finally:
            self._longest = max(self._longest, time.monotonic() - start)
        return True

    def _answer(self, name: str, request: Request) -> None:
        if request is not None:
            place = results.place()
            answer, form = self._handler.answer(*request, place.accept)
            place.keep(name, answer, form)


def _message(record: dict[str, Any]) -> Request:
    """The body of a message; its attribute `content-type` tells the form."""
    attributes = record.get("messageAttributes")
    said = attributes.get("content-type") if isinstance(attributes, dict) else None
    form = said.get("stringValue") if isinstance(said, dict) else None
    return _utf8(_field(record, "body")), form and str(form)


def _datum(record: dict[str, Any]) -> Request:
    return _binary(_field(record, "kinesis", "data"), "kinesis.data"), None


def _image(record: dict[str, Any]) -> Request:
    """The attribute `request` of a new item, or else the item; nothing where one was removed."""
    stream = record["dynamodb"]
    image = stream.get("NewImage")
    if image is None:
        return None
    item = plain({"M": image})
    value = item.get("request", item)
    if isinstance(value, str):
        return (_binary(value, "request") if "B" in image["request"] else _utf8(value)), None
    return json.dumps(value).encode(), None


def _name(record: Any, *path: str) -> str:
    try:
        return _field(record, *path)
    except RequestError:
        raise RequestError(NO_NAME.format(where=".".join(path))) from None


def _field(record: Any, *path: str) -> str:
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    if not isinstance(record, str):
        raise RequestError(NO_FIELD.format(where=".".join(path)))
    return record


def _binary(text: str, where: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        raise RequestError(NOT_BASE64.format(where=where)) from None


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # the handler refuses what is not Unicode


def _failures(names: list[str]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}


def _tell(name: str, why: str) -> bool:
    print(f"serve: {name} failed: {why}", file=sys.stderr, flush=True)
    return False
