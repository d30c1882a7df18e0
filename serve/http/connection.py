"""The requests that come on one connection, answered one after the other."""

from __future__ import annotations

import time

from serve.errors import RequestError
from serve.http.refusal import refused
from serve.http.routes import respond
from serve.http.wire import Wire, WireError, status_line
from serve.trace import identify

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket

    from serve.handler import Handler
    from serve.http.routes import Response

LINGER = 0.5  # seconds that a refused request is still read, so that its answer arrives


class Connection:
    """HTTP/1.1 on a socket, answered by a handler as `serve.http` answers.

    `run` may be in one thread, `end` in another, or in a handler of a signal.
    """

    __slots__ = ("_ended", "_handler", "_wire", "busy", "last")

    def __init__(self, socket: socket, handler: Handler) -> None:
        self._wire = Wire(socket)
        self._handler = handler
        self._ended = False
        self.busy = False
        """Whether a request is under way."""
        self.last = False
        """Whether the next answer is the last one, and says so."""

    def run(self) -> None:
        """Answer until the client hangs up, `end` is called, or an answer was the last one."""
        with self._wire.socket as connected:
            try:
                while self._answer():
                    pass
                connected.shutdown(1)
            except OSError:
                pass  # the client left, or was silent for as long as the socket waits

    def end(self) -> None:
        """No request after the one that is under way."""
        self.last = self._ended = True
        if not self.busy:
            try:
                self._wire.socket.shutdown(0)  # wakes a thread that waits for a request
            except OSError:
                return  # it has hung up already

    def _answer(self) -> bool:
        """Answer one request; is there to be another?"""
        method, path, headers = "", "", dict[str, str]()
        try:
            head = self._wire.head()
            if head is None:
                return False
            self.busy = True
            headers = head[1]
            identify(headers)
            method, path, version = _request(head[0])
            if version == "1.1" and "host" not in headers:
                raise WireError("expected the header Host")
            if headers.get("expect", "").lower() == "100-continue" and self._wire.waits():
                self._wire.send("HTTP/1.1 100 Continue", {}, b"")
            if (method, path) == ("POST", "/stream"):
                from serve.stream import blocking

                blocking.respond(self._handler, self._wire, headers, version)
                self._linger()
                return False
            body = self._wire.body(headers, self._handler.max_bytes)
        except (RequestError, WireError) as error:
            return self._refuse(method, path, headers, error)
        response = respond(self._handler, method, path, headers, body)
        if "accept-encoding" in headers:
            from serve.body.coding import packed

            response = packed(response, headers["accept-encoding"])
        # One that has come already is answered too.
        last = (self.last and self._wire.waits()) or not _kept(version, headers)
        self._send(method, response, last)
        self.busy = False
        if self._ended:  # since then, perhaps: what has come already is read, and nothing more
            self._wire.socket.shutdown(0)
        return not last

    def _refuse(
        self, method: str, path: str, headers: dict[str, str], error: RequestError | WireError
    ) -> bool:
        if not isinstance(error, RequestError):
            error = RequestError(str(error))
        identify(headers)  # where there was no head
        self._send(method, refused(self._handler, method, path, headers, error), last=True)
        self._linger()
        return False

    def _send(self, method: str, response: Response, last: bool) -> None:
        status, headers, body = response
        more = {
            "date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            "connection": "close" if last else "keep-alive",
        }
        body = b"" if method == "HEAD" else body
        self._wire.send(status_line(status), headers | more, body)

    def _linger(self) -> None:
        """Read on for a moment: what is closed unread is reset, and the answer lost with it."""
        connected, until = self._wire.socket, time.monotonic() + LINGER
        connected.shutdown(1)
        connected.settimeout(LINGER)
        while time.monotonic() < until and connected.recv(1 << 16):
            pass


def _request(line: str) -> tuple[str, str, str]:
    """The method, the path and the version of HTTP in the first line of a request."""
    method, _, rest = line.partition(" ")
    target, _, version = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not method or target[:1] not in ("/", "*"):
        raise WireError("expected a request of HTTP/1.1: METHOD /PATH HTTP/1.1")
    path = target.partition("?")[0]
    if "%" in path:
        from urllib.parse import unquote

        path = unquote(path)
    return method, path, version.removeprefix("HTTP/")


def _kept(version: str, headers: Mapping[str, str]) -> bool:
    """Does the client want to send another request?"""
    wanted = headers.get("connection", "").lower()
    return "close" not in wanted if version == "1.1" else "keep-alive" in wanted
