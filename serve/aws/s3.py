"""Objects of S3: each new object is a request, and its answer is written beside it.

Sources:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

from serve.aws import objects, results
from serve.body.forms import JSON, MSGPACK, NPY, TEXT
from serve.errors import RequestError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.handler import Handler

FORMS = {".json": JSON, ".msgpack": MSGPACK, ".npy": NPY, ".txt": TEXT}
UNSAID = "binary/octet-stream"  # what S3 says of an object where nobody told it
NO_OBJECT = "expected {where} to name a bucket and a key"


def answer(handler: Handler, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
    """Where the answers to new objects are; other events of a bucket ask nothing.

    Raises:
        RequestError: an object is no request.
        AwsError: an object can not be read or written.
        The first of them, once all objects were tried: to answer twice changes nothing.
    """
    answers, failed = [], []
    for number, record in enumerate(event["Records"]):
        try:
            if str(record.get("eventName")).startswith("ObjectCreated:"):
                bucket, key = named(record.get("s3"), f"Records[{number}].s3")
                answers.append(created(handler, bucket, _unquoted(key)))
        except Exception as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return {"answers": answers}


def created(handler: Handler, bucket: str, key: str) -> dict[str, str] | None:
    """Answer the request in an object; where the answer is. None where it is an answer itself.

    Raises:
        RequestError: it is no request.
        AwsError: it can not be read, or the answer not be written.
    """
    place = results.beside(bucket)
    if place.has(bucket, key):
        return None  # what we wrote here must not start us again
    form, body = objects.get(bucket, key, handler.max_bytes)
    return place.keep(key, *handler.answer(body, _form(key, form)))


def named(said: Any, where: str) -> tuple[str, str]:
    """The bucket and the key that a part of an event names."""
    try:
        bucket, key = said["bucket"]["name"], said["object"]["key"]
    except (TypeError, KeyError, IndexError):
        bucket = key = None
    if not (isinstance(bucket, str) and isinstance(key, str) and bucket and key):
        raise RequestError(NO_OBJECT.format(where=where))
    return bucket, key


def _form(key: str, said: str | None) -> str | None:
    """The form of a request, by the end of its name, or else as S3 was told."""
    _, dot, end = key.rpartition(".")
    return FORMS.get(dot + end, None if said == UNSAID else said)


def _unquoted(key: str) -> str:
    from urllib.parse import unquote_plus

    return unquote_plus(key)
