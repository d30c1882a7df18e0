"""What a process tells of the handler that it serves: is it ready, and what has it answered.

None of this changes an answer of the model.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from bisect import bisect_left

from serve import settings

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

    from serve.handler import Handler

LOADING, READY, STOPPING = "loading", "ready", "stopping"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds

QUICK = 32  # more requests that took less than a millisecond than slow ones took milliseconds
STEADY = 64
SLOWEST = -10_000


class Row:
    """What was answered by one route, to one method, with one status."""

    __slots__ = ("buckets", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.received = self.sent = 0


class Watch:
    """The state of a handler, `LOADING`, `READY` or `STOPPING`, and its counters.

    Any number of threads may count.
    """

    __slots__ = ("_lock", "_quick", "beside", "log", "rows", "state")

    def __init__(self) -> None:
        self.state = READY
        self.beside = 1
        """How many are computed beside each other, each of which then takes longer."""
        self.log = settings.choice(settings.LOG, ("off", "json", "text"))
        self.rows: dict[tuple[str, str, int], Row] = {}
        self._quick: dict[tuple[str, int], int] = {}
        self._lock = allocate_lock()

    def count(
        self, route: str, method: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        """One request more. `route` is one of a few, and of the methods the usual ones count."""
        key = route, method if method in METHODS else "other", status
        size = route, received.bit_length()
        with self._lock:
            row = self.rows.get(key)
            if row is None:
                row = self.rows[key] = Row()
            row.buckets[bisect_left(BOUNDS, seconds)] += 1
            row.seconds += seconds
            row.received += received
            row.sent += sent
            if status == 200:
                steady = self._quick.get(size, 0) + 1 - int(seconds * 1000 / self.beside)
                self._quick[size] = max(SLOWEST, min(STEADY, steady))

    def quick(self, route: str, size: int) -> bool:
        """Did requests like this one take less than a millisecond each, for some time now?"""
        return self._quick.get((route, size.bit_length()), 0) >= QUICK

    def tell(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        status: int,
        seconds: float,
        received: int,
        sent: int,
    ) -> None:
        """A line in the log, where one is wanted."""
        if self.log != "off":
            from serve import log

            log.request(self.log, method, path, headers, status, seconds, received, sent)


def warm(handler: Handler) -> None:
    """Load every program, and be ready. LAMDA_WARM=0 leaves each program to its first request.

    Raises:
        ServeError: a program can not be loaded.
    """
    if os.environ.get("LAMDA_WARM") != "0":
        handler.watch.state = LOADING
        handler.engine.warm()
    handler.watch.state = READY
