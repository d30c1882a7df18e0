"""What Lambda tells of an invocation: the `context` of a function, and all that is used of it."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TRACE = "_X_AMZN_TRACE_ID"  # the variable of the environment that Lambda's own runtimes set


class Context:
    """One invocation: its name, and how long it may still take."""

    __slots__ = ("_deadline", "aws_request_id")

    def __init__(self, name: str, headers: Mapping[str, str]) -> None:
        self.aws_request_id = name
        deadline = headers.get("lambda-runtime-deadline-ms", "")
        self._deadline = int(deadline) if deadline.isdecimal() else None
        # The libraries of AWS look for the trace there, and so does what calls them.
        os.environ[TRACE] = headers.get("lambda-runtime-trace-id", "")

    def get_remaining_time_in_millis(self) -> float:
        """Milliseconds until Lambda ends the process; infinite where it did not say."""
        return float("inf") if self._deadline is None else self._deadline - 1000 * time.time()


def headers(context: Any) -> dict[str, str]:
    """What an HTTP request is told of the invocation that it came by, as headers."""
    told, trace = {}, os.environ.get(TRACE)
    if name := getattr(context, "aws_request_id", None):
        told["x-request-id"] = str(name)
    if trace:
        told["x-amzn-trace-id"] = trace
    return told


def traceparent(trace: str) -> str | None:
    """A trace of X-Ray, `Root=1-TIME-ID;Parent=ID;Sampled=1`, as W3C writes it.

    Source: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    parts = (part.strip().partition("=") for part in trace.split(";"))
    fields = {name: value for name, _, value in parts}
    root = fields.get("Root", "").split("-")
    parent = fields.get("Parent", "")
    if list(map(len, [*root, parent])) != [1, 8, 24, 16]:
        return None
    return f"00-{root[1]}{root[2]}-{parent}-{'01' if fields.get('Sampled') == '1' else '00'}"
