"""What a deployed process says on stderr: that it started, what it answered, and what failed.

LAMDA_LOG says how. `off`: one line when it starts, and failures. `text`: a line for each request
too. `json`: all of it as JSON, one object a line.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.handler import Handler

LONGEST = 200  # characters of a method and of a path


def started(front: str, handler: Handler, runtime: Mapping[str, Any] | None = None) -> None:
    """`serve: started {"front": "http", "name": ..., "way": ..., "why": ..., "notes": [...]}`.

    `front` is what the requests come by: http, lambda or fork. The way is the one that the engine
    took, as `GET /` tells it. After its first two words the line is JSON.
    """
    told = runtime or handler.describe()["runtime"]
    said = {"front": front, "name": handler.bundle.name, "address": handler.bundle.address, **told}
    if handler.watch.log == "json":
        return _line({"event": "started", **said})
    print(f"serve: started {json.dumps(said)}", file=sys.stderr, flush=True)


def request(
    style: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    status: int,
    seconds: float,
    received: int,
    sent: int,
) -> None:
    """One line of an answered request. What the client chose is escaped, and cut."""
    from serve.trace import passed_on, trace

    said = {
        "event": "request", "id": passed_on(headers).get("x-request-id"),
        "trace": trace(headers.get("traceparent")),
        "method": method[:LONGEST], "path": path[:LONGEST], "status": status,
        "ms": round(1000 * seconds, 3), "received": received, "sent": sent,
    }  # fmt: skip
    if style == "json":
        return _line(said)
    place = json.dumps(f"{said['method']} {said['path']}")
    print(
        f"serve: {place} {status} {said['ms']} ms {received} B in {sent} B out {said['id'] or ''}",
        file=sys.stderr,
        flush=True,
    )


def failed(name: str) -> None:
    """The exception that is handled now, under the name that its request has."""
    import traceback

    story = traceback.format_exc()
    if os.environ.get("LAMDA_LOG") == "json":
        return _line({"event": "failed", "id": name, "traceback": story})
    print(f"request {name} failed:\n{story}", file=sys.stderr, flush=True)


def _line(said: dict[str, Any]) -> None:
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
    sys.stderr.write(json.dumps({"time": stamp, **said}) + "\n")  # one write, whatever others write
    sys.stderr.flush()
