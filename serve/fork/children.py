"""Child processes of one thread: forked, waited for, ended."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

STOPPING = (signal.SIGTERM, signal.SIGINT)
HEARD = (*STOPPING, signal.SIGCHLD)


def fork(life: Callable[[], object]) -> int:
    """The process id of a child that does what `life` does, and nothing after.

    Raises:
        OSError: there can be no more processes.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        pid = os.fork()
        if pid == 0:
            # What the parent does about a signal is not to be done twice.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: see SIGTERM
            _live(life, before)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def how(status: int) -> str:
    """`SIGSEGV` or `status 1`: what os.waitpid says, in words."""
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"status {code}"


class Children:
    """Those of one server. `woken` is read from when one of them may have ended."""

    __slots__ = ("_pids", "_woken")

    def __init__(self, woken: int) -> None:
        self._pids: set[int] = set()
        self._woken = woken

    def __len__(self) -> int:
        return len(self._pids)

    def fork(self, life: Callable[[], object]) -> None:
        """One more. Raises as `fork` does."""
        self._pids.add(fork(life))

    def reap(self) -> None:
        """Wait for those that have ended, and tell of each that did not end well."""
        os.read(self._woken, 4096)
        for pid in [*self._pids]:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._pids.discard(pid)
                if status:
                    _tell(f"instance {pid} ended by {how(status)}; the others go on")

    def end(self, grace: float) -> None:
        """Ask all to end, and end those that have not after as many seconds."""
        for pid in self._pids:
            os.kill(pid, signal.SIGTERM)
        poll, until = select.poll(), time.monotonic() + grace
        poll.register(self._woken, select.POLLIN)
        while self._pids and (left := until - time.monotonic()) > 0:
            if poll.poll(1000 * left):
                self.reap()
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            _tell(f"instance {pid} did not finish in {grace} s and was ended")
        self._pids.clear()


def _live(life: Callable[[], object], signals: Iterable[int]) -> NoReturn:
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        life()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # the stack below is the parent's, and not to be unwound


def _tell(text: str) -> None:
    print(f"serve: {text}", file=sys.stderr, flush=True)
