"""uvicorn's protocol of HTTP/1.1, with a short way for what is usual.

A small POST that has come whole, to a model that is known to be quick, is answered where it
arrives: at a third of the cost. Whatever is unusual about a request, uvicorn and serve.http see to
it. At the end a connection that is kept is told so with its next answer, and is not hung up on
while a request may be on its way.
"""

from __future__ import annotations

import re

from h11 import IDLE
from uvicorn.protocols.http.h11_impl import H11Protocol

from serve.body.coding import packed
from serve.http.asgi import SMALL
from serve.http.routes import respond, route
from serve.http.wire import status_line
from serve.trace import identify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from serve.handler import Handler

LINGER = 0.5  # seconds that a silent connection is still read at the end

_PLAIN = re.compile(rb"POST (/[\w./-]*) HTTP/1\.1\r\n((?:[\w-]+:[ -~]*\r\n)+)\r\n", re.ASCII)
_UNUSUAL = {"transfer-encoding", "expect", "upgrade"}


def protocol(handler: Handler) -> type[H11Protocol]:
    """The protocol of a server of this handler."""

    class Protocol(H11Protocol):
        _ending = False
        _last = 0.0  # when the short way was last taken

        def data_received(self, data: bytes) -> None:
            if not self._between() or not self._answer(data):
                super().data_received(data)
                self._last = 0.0  # the timer is uvicorn's now
                if self._ending:
                    self._say_last()

        def shutdown(self) -> None:
            self._ending = True
            self._say_last()
            self.loop.call_later(LINGER, self._hang_up)

        def _say_last(self) -> None:
            """The answer that is under way is the last one, and says so if it has not begun."""
            cycle = self.cycle
            if cycle is not None and cycle.keep_alive and not cycle.response_complete:
                cycle.keep_alive = False
                if not cycle.response_started:
                    cycle.default_headers = [*cycle.default_headers, (b"connection", b"close")]

        def _between(self) -> bool:
            """Is the next byte the first one of a request, and may it be answered at once?"""
            if self.cycle is not None and not self.cycle.response_complete:
                return False
            waiting = self.conn.trailing_data[0]
            return self.conn.their_state is IDLE and not waiting and not self.flow.write_paused

        def _answer(self, data: bytes) -> bool:
            """Answer the request, if that is what all of the data is."""
            found = _PLAIN.match(data)
            if found is None:
                return False
            path, headers = found[1].decode(), _headers(found[2])
            body = data[found.end() :]
            if headers is None or headers.get("content-length") != str(len(body)):
                return False
            where = route(path)
            quick = len(body) <= SMALL and handler.watch.quick(where, len(body))
            if where not in ("/", "/v2") or not quick:
                return False
            identify(headers)
            status, more, answer = packed(
                respond(handler, "POST", path, headers, body), headers.get("accept-encoding")
            )
            fields = "".join(f"{name}: {value}\r\n" for name, value in more.items())
            end = "connection: close\r\n\r\n" if self._ending else "\r\n"
            date = b"".join(b"%b: %b\r\n" % each for each in self.server_state.default_headers)
            head = f"{status_line(status)}\r\n{fields}".encode("latin-1")
            self.transport.write(b"".join((head, date, end.encode(), answer)))
            self.server_state.total_requests += 1
            if self._ending:
                self.transport.close()
            else:
                self._keep()
            return True

        def _keep(self) -> None:
            """Hang up when nothing has come for a while: one timer, not one for each request."""
            if self._last == 0.0 or self.timeout_keep_alive_task is None:
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self._look
                )
            self._last = self.loop.time()

        def _look(self) -> None:
            left = self._last + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self.timeout_keep_alive_task = self.loop.call_later(left, self._look)
            else:
                self._hang_up()

        def _hang_up(self) -> None:
            if self._between():
                self.timeout_keep_alive_handler()

    return Protocol


def _headers(lines: bytes) -> dict[str, str] | None:
    """The headers, names in lower case; None where one is unusual, or comes twice."""
    pairs = [line.partition(":") for line in lines.decode().split("\r\n")[:-1]]
    headers = {name.lower(): value.strip(" ") for name, _, value in pairs}
    kept = headers.get("connection", "keep-alive").lower() == "keep-alive"
    plain = len(headers) == len(pairs) and "host" in headers and kept
    return headers if plain and _UNUSUAL.isdisjoint(headers) else None
