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

_UNTIL: ContextVar[float] = ContextVar("until", default=inf)


class Deadline:
    """`with Deadline(seconds):` is that long, or as long as the one around it."""

    __slots__ = ("_seconds", "_token")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._token = _UNTIL.set(min(_UNTIL.get(), monotonic() + self._seconds))

    def __exit__(self, *_: object) -> None:
        _UNTIL.reset(self._token)


def late(seconds: float) -> RequestError:
    """The error of a request that had so many seconds."""
    return RequestError(errors.LATE.format(seconds=seconds), 504)


def limited(engine: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """The engine, which begins nothing after the deadline.

    Raises:
        RequestError: 504, what `seconds` allowed is over.
    """

    def run(index: int, inputs: list[bytes]) -> Any:
        if monotonic() > _UNTIL.get():
            raise late(seconds)
        return engine(index, inputs)

    return run
