"""POST /stream on a connection that has a thread or a process to itself (serve.http.connection)."""

from __future__ import annotations

import time

from serve import errors
from serve.errors import RequestError
from serve.http.routes import logged
from serve.http.wire import WireError, status_line
from serve.trace import passed_on

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serve.handler import Handler
    from serve.http.wire import Wire
    from serve.stream.talk import Talk


def respond(handler: Handler, wire: Wire, headers: Mapping[str, str], version: str) -> None:
    """Answer one request, of which nothing but the headers has been read: the last of its wire.

    The next piece of the body is read when the answers to the last one are sent.

    Raises:
        RequestError: it is wrong before anything is answered.
        OSError: the client went away.
    """
    began = time.perf_counter()
    talk = handler.talk(headers.get("content-type"), headers.get("accept"))
    told = {"content-type": talk.content_type, "lamda-address": handler.bundle.address}
    out = Out(wire, version, told | passed_on(headers))
    try:
        for answer in _answers(talk, wire.pieces(headers), handler.max_seconds):
            out.write(answer)
        out.end()
    except (RequestError, WireError) as error:
        _fail(out, talk, RequestError(str(error), getattr(error, "status", 400)))
    except OSError:
        raise
    except Exception:
        _fail(out, talk, RequestError(logged(headers.get("x-request-id")), 500))
    finally:
        if out.begun:  # else it is refused, and counted as that
            seconds = time.perf_counter() - began
            handler.watch.count("/stream", "POST", 200, seconds, 0, out.sent)
            handler.watch.tell("POST", "/stream", headers, 200, seconds, 0, out.sent)


class Out:
    """A response of unknown length: it begins with the first answer, and ends the connection."""

    __slots__ = ("_chunked", "_headers", "_wire", "begun", "sent")

    def __init__(self, wire: Wire, version: str, headers: Mapping[str, str]) -> None:
        self._wire = wire
        self._chunked = version == "1.1"  # to HTTP/1.0 the end of the connection is the end
        self._headers = {
            **headers,
            "x-content-type-options": "nosniff",
            "connection": "close",
        }
        if self._chunked:
            self._headers["transfer-encoding"] = "chunked"
        self.begun = False
        self.sent = 0
        """Bytes of answers."""

    def write(self, data: bytes) -> None:
        """Send an answer; returns when there is room for more."""
        if not self.begun:
            self.begun = True
            self._wire.send(status_line(200), self._headers, b"")
        if data:  # a chunk without bytes would be the end
            framed = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
            self._wire.socket.sendall(framed)
            self.sent += len(data)

    def end(self) -> None:
        """The response is complete."""
        self.write(b"")
        if self._chunked:
            self._wire.socket.sendall(b"0\r\n\r\n")


def _answers(talk: Talk, pieces: Iterator[bytes], seconds: float) -> Iterator[bytes]:
    until = time.monotonic() + seconds

    def both() -> Iterator[bytes]:
        for piece in pieces:
            yield from talk.feed(piece)
        yield from talk.end()

    for answer in both():
        if time.monotonic() > until:
            raise RequestError(errors.SLOW_STREAM.format(seconds=seconds), 408)
        yield answer


def _fail(out: Out, talk: Talk, error: RequestError) -> None:
    """Say what is wrong: as a status where nothing has been sent, else in the last line."""
    if not out.begun:
        raise error from None
    out.write(talk.failed(str(error)))
    out.end()
