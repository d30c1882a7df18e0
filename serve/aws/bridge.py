"""Events of EventBridge: what happened is in `detail`.

Source: https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
"""

from __future__ import annotations

import json

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.handler import Handler


def answer(handler: Handler, event: dict[str, Any], context: Any = None) -> Any:
    """The answer to the request in `detail`. A clock asks nothing; it keeps an instance warm.

    Raises:
        RequestError: the detail is not a value of the input type; or as s3.created.
    """
    kind, detail = event["detail-type"], event["detail"]
    if kind == "Scheduled Event" and detail == {}:
        return {"status": "ok"}
    if kind == "Object Created" and event.get("source") == "aws.s3":
        from serve.aws import s3

        return s3.created(handler, *s3.named(detail, "detail"))
    return json.loads(handler(json.dumps(detail).encode()))
