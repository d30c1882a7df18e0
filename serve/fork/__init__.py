"""An instance for each connection: one process opens everything once, and forks.

    python -m serve --fork SOCKET DIR

It is for a machine that runs many instances of a model, each a process of its own, as platforms
for functions do. The server reads and checks the bundle, opens the library of the plugin and
imports what answers need. It never makes a client of the plugin: a process that has one can not be
forked. For each connection to its Unix socket it forks a child, which makes the client, loads the
weights and the executable, and answers HTTP/1.1 (serve.http) on that connection until the caller
hangs up. So instances share the pages of the library and of the weights, the first answer comes in
some 20 ms, and an instance that dies takes nobody with it.

    with serve.fork.connect(SOCKET) as instance:
        answer = instance(b"[[1, 2]]")

    curl --unix-socket SOCKET http://instance/ -d '[[1, 2]]'

Before the server listens, a first instance answers the bundle's example. What would end a process
ends that one, and the server does not start. Only its own user may connect, unless `mode` says
otherwise: it is that of the socket's file. A connection too many is answered by 503.

SIGTERM or SIGINT: nobody can connect any more, each instance finishes the request that it has, and
the server ends when all have.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
from contextlib import suppress

from serve import log
from serve.errors import RequestError, ServeError
from serve.fork.children import HEARD, STOPPING, Children
from serve.fork.instance import Instance, connect
from serve.fork.later import Later, rehearse
from serve.fork.listener import Listener, listen
from serve.handler import Handler
from serve.http.connection import Connection
from serve.http.routes import failure
from serve.http.wire import Wire, status_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

__all__ = ["Instance", "Server", "connect"]

GRACE = 10  # seconds for what is under way when the server is told to stop

THREADS = (
    "expected to be called in the only thread of a process, since it forks; this one has {found}: "
    "run python -m serve --fork"
)
CROWDED = "there are {limit} instances already: hang up on one, or try again later"


class Server:
    """`Server(directory, socket).run()` answers on a Unix socket, an instance to a connection.

    There are at most `instances` at a time; `mode` is that of the socket's file. `plugin`,
    `trusted` and `verify` are those of serve.load.
    """

    def __init__(
        self,
        directory: str | PathLike[str],
        socket: str | PathLike[str],
        *,
        plugin: str | None = None,
        trusted: Iterable[str | PathLike[str] | bytes] | None = None,
        verify: str | None = None,
        instances: int = 64,
        mode: int = 0o600,
    ) -> None:
        """Read the bundle. Raises BundleError as serve.load does."""
        from serve import _read

        self._path = os.fspath(socket)
        self._bundle = _read(directory, trusted, verify)
        self._later = Later(self._bundle, plugin)
        self._handler = Handler(self._bundle, self._later)
        self._instances = instances
        self._mode = mode
        self._stopping = False

    def run(self) -> None:
        """Answer until SIGTERM or SIGINT.

        Raises:
            ServeError: there are other threads; or the first instance could not answer.
            OSError: the socket can not be listened on.
        """
        _alone()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = {number: signal.signal(number, self._hear) for number in HEARD}
        woken = signal.set_wakeup_fd(writer)
        children = Children(reader)
        try:
            runtime = rehearse(self._handler, self._later)
            with listen(self._path, self._mode) as listener:
                b"".decode("utf-8-sig")  # a codec is imported when it is first used
                gc.freeze()  # what is here is here to stay: no child should touch its pages
                log.started("fork", self._handler, runtime)
                self._serve(listener, children, reader)
            children.end(GRACE)
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def _serve(self, listener: Listener, children: Children, woken: int) -> None:
        poll = select.poll()
        poll.register(listener.socket, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while not self._stopping:
            for ready, _ in poll.poll():
                if ready == woken:
                    children.reap()
                else:
                    self._accept(listener.socket, children)

    def _accept(self, listening: socket.socket, children: Children) -> None:
        try:
            connected, _ = listening.accept()
        except OSError:
            return  # the caller has hung up already
        with connected:
            if len(children) >= self._instances:
                return self._refuse(connected, CROWDED.format(limit=self._instances))
            try:
                children.fork(lambda: self._answer(listening, connected))
            except OSError as error:
                self._refuse(connected, f"no instance can be started: {error.strerror}")

    def _answer(self, listening: socket.socket, connected: socket.socket) -> None:
        """The whole life of an instance."""
        connection = Connection(connected, self._handler)
        signal.signal(signal.SIGTERM, lambda *_: connection.end())
        listening.close()
        with suppress(ServeError):  # the request will meet it again, and be told
            self._later.open()  # while the request is on its way
        connection.run()

    def _refuse(self, connected: socket.socket, why: str) -> None:
        status, headers, body = failure(self._handler, RequestError(why, 503))
        connected.setblocking(False)  # a caller who does not read is not waited for
        with suppress(OSError):  # nor is one who has left
            Wire(connected).send(status_line(status), {**headers, "connection": "close"}, body)

    def _hear(self, number: int, _: object) -> None:
        self._stopping |= number in STOPPING


def _alone() -> None:
    """Refuse to fork a process of several threads: a child would have one, and the locks of all."""
    try:
        found = len(os.listdir("/proc/self/task"))
    except OSError:
        return
    if found > 1:
        raise ServeError(THREADS.format(found=found))
