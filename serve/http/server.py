"""The server of `python -m serve DIR`: it answers long before uvicorn is there to answer.

uvicorn takes 100 ms to import, twice as long as it takes to load a small model. So the port is
open before the bundle is read, and early requests wait rather than fail; once it is loaded they
are answered one thread to a connection; and uvicorn takes over as soon as it can.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time

from serve import log
from serve.errors import ServeError
from serve.http import drain
from serve.http.asgi import make_app
from serve.http.connection import Connection
from serve.watch import LOADING, STOPPING, warm

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from serve.handler import Handler

MOST = 64  # early connections; more wait for uvicorn
SILENCE = 5  # seconds that an early connection may be silent, as long as uvicorn keeps one
# Seconds for those who waited for the bundle, before uvicorn takes the processor: to be heard, and
# to be answered.
QUIET, PATIENCE = 0.02, 1.0


def run(
    load: Callable[[], Handler],
    host: str,
    port: int,
    beside: Callable[[Handler], AbstractContextManager[object]] | None = None,
) -> None:
    """Serve the handler until SIGTERM or SIGINT; what is under way then is finished.

    `beside` is what else serves it in the meantime.

    Raises:
        ServeError: uvicorn is not installed, or the bundle can not be loaded.
        OSError: the port can not be listened on.
    """
    later = drain.seconds()
    with _listen(host, port) as bound:
        handler = load()
        handler.watch.state = LOADING  # it answers already, and more slowly than it will
        place = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
        bundle, engine = handler.bundle, handler.engine
        early = Early(bound, handler)
        try:
            early.start()
            log.started("http", handler)
            told = f"({engine.way}: {engine.why})"
            print(f"serving {bundle.name} {bundle.address} at {place} {told}", flush=True)
            early.settle()
            warm(handler)
            if beside is None:
                _uvicorn(handler, bound, early, later)
            else:
                with beside(handler):
                    _uvicorn(handler, bound, early, later)
        except SystemExit:  # SIGTERM, which uvicorn was not there to hear
            if handler.watch.state != STOPPING:
                handler.watch.state = STOPPING
                time.sleep(later)
            raise
        finally:
            handler.watch.state = STOPPING
            early.end()


class Early:
    """Answers on a listening socket, a thread to a connection, until somebody else does."""

    def __init__(self, bound: socket.socket, handler: Handler) -> None:
        self._bound = bound
        self._handler = handler
        self._over = False
        self._wake = os.pipe()
        self._connections: dict[threading.Thread, Connection] = {}
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._bound.setblocking(False)  # two may wait for the same connection
        self._accepting.start()

    def settle(self) -> None:
        """Wait until those who are here are answered, unless that takes long."""
        until = time.monotonic() + PATIENCE
        time.sleep(QUIET)
        while time.monotonic() < until and any(c.busy for c in [*self._connections.values()]):
            time.sleep(QUIET / 4)

    def hand_over(self) -> None:
        """Take no connection more, and answer one request more on each there is."""
        self._over = True
        os.write(self._wake[1], b"\0")
        self._accepting.join()
        for connection in self._connections.values():
            connection.last = True

    def end(self) -> None:
        """Finish what is under way."""
        if not self._over:
            self.hand_over()
        for connection in list(self._connections.values()):
            connection.end()
        for thread in list(self._connections):
            thread.join(drain.GRACE)

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._bound, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        while not self._over and len(self._connections) < MOST:
            poll.poll()
            try:
                client, _ = self._bound.accept()
            except OSError:
                continue  # uvicorn has taken it, or the client has left
            client.settimeout(SILENCE)
            connection = Connection(client, self._handler)
            thread = threading.Thread(target=connection.run, daemon=True)
            self._connections[thread] = connection
            thread.start()


def _uvicorn(handler: Handler, bound: socket.socket, early: Early, later: float) -> None:
    """Serve on the socket for good."""
    try:
        from serve.http.protocol import protocol
    except ImportError:
        raise ServeError(drain.UVICORN) from None
    import gc

    gc.freeze()  # what is here is here to stay: it need not be looked through again and again
    drain.run(
        handler, make_app(handler), later,
        sockets=[bound], started=early.hand_over, http=protocol(handler),
    )  # fmt: skip


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f"can not listen on {host}:{port}: {error.strerror}") from None
    # What is accepted inherits it. Head and body are two writes, of which the second would wait
    # for the client to acknowledge the first, 40 ms.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
