"""Progress: a bar with bytes and rate on standard error, where someone looks at it."""

import sys
import threading
from types import TracebackType
from typing import Any


class Progress:
    """Counts bytes as they are told, by any thread.

    They are shown where ``show`` is true, stderr is a terminal, and it takes longer than ``delay``
    seconds.
    """

    def __init__(self, what: str, total: int, show: bool = True, delay: float = 0.5) -> None:
        self.done = 0
        self._lock = threading.Lock()
        shown = show and total and sys.stderr.isatty()
        self._bar = _bar(what, total, delay) if shown else None

    def tell(self, count: int) -> None:
        """So many bytes have gone by."""
        with self._lock:
            self.done += count
            if self._bar is not None:
                self._bar.update(count)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _bar(what: str, total: int, delay: float) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, unit_divisor=1024, delay=delay)
