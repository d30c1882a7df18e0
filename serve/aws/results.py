"""Where the answers to records are kept: in the log, in a bucket, or in a queue.

LAMDA_RESULTS says it: `s3://BUCKET/PREFIX`, or the URL of an SQS queue; without it the answer is a
line of the log. The name of an answer is made of that of its record, so a record that comes twice
leaves the same answer in the same place.
"""

from __future__ import annotations

import json
import os
import sys

from serve.body.forms import JSON, MSGPACK, NPY
from serve.errors import BundleError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

MARK = ".answer"  # ends the name of every answer, but for its form
ENDS = {JSON: ".json", MSGPACK: ".msgpack", NPY: ".npy"}
WRONG = "LAMDA_RESULTS should be s3://BUCKET/PREFIX or the URL of a queue, found {found!r}"


class Log:
    """A line of JSON for each answer, on stdout."""

    accept = JSON

    def keep(self, name: str, answer: bytes, form: str) -> object:
        """Write the line."""
        line = b'{"record": %s, "answer": %s}' % (json.dumps(name).encode(), answer)
        print(line.decode(), file=sys.stdout, flush=True)
        return None


class Bucket:
    """An object for each answer, in the form of its request."""

    accept = None

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket, self._prefix = bucket, prefix

    def has(self, bucket: str, key: str) -> bool:
        """Is that the name of an answer here?"""
        ours = bucket == self._bucket and key.startswith(self._prefix)
        return ours and (key.endswith(MARK) or key.rpartition(".")[0].endswith(MARK))

    def keep(self, name: str, answer: bytes, form: str) -> dict[str, str]:
        """Write the object; raises AwsError where that fails."""
        from serve.aws import objects

        key = self._prefix + name + MARK + ENDS.get(form, "")
        objects.put(self._bucket, key, answer, form)
        return {"bucket": self._bucket, "key": key}


class Queue:
    """A message for each answer, which names its record in the attribute `record`."""

    accept = JSON

    def __init__(self, url: str) -> None:
        self._url = url

    def keep(self, name: str, answer: bytes, form: str) -> object:
        """Send the message; raises AwsError where that fails."""
        from serve.aws import client

        attribute = {"DataType": "String", "StringValue": name}
        message: dict[str, Any] = {
            "QueueUrl": self._url,
            "MessageBody": answer.decode(),
            "MessageAttributes": {"record": attribute},
        }
        if self._url.endswith(".fifo"):  # where a message that comes again is dropped
            message |= {"MessageDeduplicationId": name[-128:], "MessageGroupId": "answers"}
        target = {"content-type": "application/x-amz-json-1.0",
                  "x-amz-target": "AmazonSQS.SendMessage"}  # fmt: skip
        root = "/".join(self._url.split("/")[:3]) + "/"
        client.ask("sqs", "POST", root, target, json.dumps(message).encode())
        return None


def place() -> Log | Bucket | Queue:
    """Where the answers of records go.

    Raises:
        BundleError: LAMDA_RESULTS is neither a bucket nor a queue.
    """
    url = os.environ.get("LAMDA_RESULTS")
    if not url:
        return Log()
    scheme, _, rest = url.partition("://")
    if scheme == "s3" and rest.partition("/")[0]:
        bucket, _, prefix = rest.partition("/")
        return Bucket(bucket, prefix)
    if scheme in ("https", "http") and rest.count("/") >= 2:
        return Queue(url)
    raise BundleError(WRONG.format(found=url))


def beside(bucket: str) -> Bucket:
    """Where the answers to the objects of a bucket go: beside them, or where LAMDA_RESULTS says."""
    said = place()
    return said if isinstance(said, Bucket) else Bucket(bucket)
