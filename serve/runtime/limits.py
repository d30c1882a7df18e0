"""Can this process have what a plugin takes? XLA ends the process where a thread can not start."""

from __future__ import annotations

import os
from resource import RLIM_INFINITY, RLIMIT_AS, RLIMIT_NPROC, getrlimit

from serve import errors
from serve.errors import PluginError

LEAST = 4  # threads in each of XLA's two pools, which otherwise have one for each processor
EACH = 72 << 20  # bytes of addresses of a thread: its stack, and what malloc sets apart for it
FEW = 256  # a limit below this is tried out


def check(path: str) -> None:
    """Refuse to open a client of a plugin where its threads may not start.

    Raises:
        PluginError: says which limit is too low, and what it should be.
    """
    limit, _ = getrlimit(RLIMIT_AS)
    if limit != RLIM_INFINITY:
        expected = _mapped() + os.stat(path).st_size + _threads() * EACH
        if limit < expected:
            raise PluginError(
                errors.LITTLE_MEMORY.format(path=path, expected=expected >> 10, found=limit >> 10)
            )
    limit, _ = getrlimit(RLIMIT_NPROC)
    if limit != RLIM_INFINITY and limit < FEW and not _start(_threads()):
        raise PluginError(errors.FEW_THREADS.format(path=path, expected=_threads(), found=limit))


def _threads() -> int:
    return 2 * max(LEAST, len(os.sched_getaffinity(0)))


def _mapped() -> int:
    """The bytes of addresses that this process has."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read(64).split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _start(count: int) -> bool:
    """Can so many threads live at once? They are over when it returns.

    Python may end while a thread that it did not wait for is about to run, and then crashes.
    """
    from threading import Event, Thread  # few processes are limited so, and come here

    end = Event()
    threads = []
    try:
        for _ in range(count):
            thread = Thread(target=end.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        return False
    finally:
        end.set()
        for thread in threads:
            thread.join()
    return True
