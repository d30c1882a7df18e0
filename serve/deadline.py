"""A request has so many seconds: what is left of it then is not computed.

A call of a program can not be stopped. So the time is looked at before each, which ends a batch
between its pieces, and a request that nobody waits for any more before it begins.
"""

from __future__ import annotations

from contextvars import ContextVar
from math import inf
from time import monotonic

from serve import errors
from serve.errors import RequestError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# When, how many seconds that were, and what is said then: whose limit it was.
_UNTIL: ContextVar[tuple[float, float, str]] = ContextVar("until", default=(inf, inf, errors.LATE))


class Deadline:
    """`with Deadline(seconds):` is that long, or as long as the one around it.

    `text` is what a request is told that had `{seconds}`, and how to get more of them.
    """

    __slots__ = ("_seconds", "_text", "_token")

    def __init__(self, seconds: float, text: str = errors.LATE) -> None:
        self._seconds = seconds
        self._text = text

    def __enter__(self) -> None:
        until = monotonic() + self._seconds, self._seconds, self._text
        self._token = _UNTIL.set(min(_UNTIL.get(), until))

    def __exit__(self, *_: object) -> None:
        _UNTIL.reset(self._token)


def late(seconds: float, text: str = errors.LATE) -> RequestError:
    """The error of a request that had so many seconds."""
    return RequestError(text.format(seconds=max(0, seconds)), 504)


def limited(engine: Callable[..., Any]) -> Callable[..., Any]:
    """The engine, which begins nothing after the deadline.

    Raises:
        RequestError: 504, the deadline is over.
    """

    def run(index: int, inputs: list[bytes]) -> Any:
        until, seconds, text = _UNTIL.get()
        if monotonic() > until:
            raise late(seconds, text)
        return engine(index, inputs)

    return run
