"""The names of a request: what its sender calls it, in the log, in the answer, in an error.

Source: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import os
import re
from functools import cache
from itertools import count

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_TRACE = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
LONGEST = 512  # characters of a traceparent of a version to come


@cache
def _process() -> str:
    return os.urandom(5).hex()


os.register_at_fork(after_in_child=_process.cache_clear)
_COUNT = count()


def fresh() -> str:
    """A name that no other request has. It is no secret: those of a process are counted."""
    return f"{_process()}{next(_COUNT):06x}"


def identify(headers: dict[str, str]) -> None:
    """Give a request a name, where its sender has not: for servers, which stand at the door."""
    if not _ID.fullmatch(headers.get("x-request-id", "")):
        headers["x-request-id"] = fresh()


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that name its request; what is not well formed is not passed on."""
    passed = {}
    name = headers.get("x-request-id")
    if name is not None and _ID.fullmatch(name):
        passed["x-request-id"] = name
    parent = headers.get("traceparent")
    if parent is not None and trace(parent):
        passed["traceparent"] = parent
    return passed


def trace(parent: str | None) -> str | None:
    """The trace id of a traceparent, if it is one."""
    found = _TRACE.fullmatch(parent) if parent and len(parent) <= LONGEST else None
    return found[1] if found else None
