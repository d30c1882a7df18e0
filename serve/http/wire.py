"""HTTP/1.1 on one connected socket, from either end of it.

The standard library's own reader and writer of HTTP take 30 ms to import, longer than it takes to
load a small model: they are not on the path to the first answer.

Source: https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

from serve.errors import RequestError, ServeError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from socket import socket

LARGEST_HEAD = 65_536  # bytes of a first line and its headers, and of trailers
LARGEST = 1 << 62  # bytes of a body, where nobody says less
REASONS = {
    200: "OK", 304: "Not Modified", 400: "Bad Request", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout",
    413: "Content Too Large", 415: "Unsupported Media Type", 500: "Internal Server Error",
    503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")


class WireError(ServeError, ConnectionError):
    """The other end does not speak HTTP/1.1, or hung up in the middle of a message."""


class Wire:
    """The messages that come and go on one socket."""

    __slots__ = ("_buffer", "socket")

    def __init__(self, socket: socket) -> None:
        self.socket = socket
        self._buffer = b""

    def head(self) -> tuple[str, dict[str, str]] | None:
        """The first line of a message and its headers, names in lower case.

        None where the other end hung up after the last message.

        Raises:
            WireError: what comes is no head of HTTP/1.1.
            OSError: the connection broke.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0 and len(self._buffer) <= LARGEST_HEAD:
            if not self._receive():
                if self._buffer:
                    raise WireError("the headers end in the middle: expected an empty line")
                return None
            self._buffer = self._buffer.lstrip(b"\r\n")  # some send a line more after a body
        if not 0 <= end <= LARGEST_HEAD:
            raise WireError(f"expected at most {LARGEST_HEAD} bytes of headers")
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        return first, _headers(lines)

    def body(self, headers: Mapping[str, str], most: int = LARGEST) -> bytes:
        """The body that the headers promise.

        Raises:
            RequestError: 413, it has more bytes than `most`; it is not read to its end.
            WireError: it is cut short, or of a length that is no number.
            OSError: the connection broke.
        """
        return b"".join(self.pieces(headers, most))

    def pieces(self, headers: Mapping[str, str], most: int = LARGEST) -> Iterator[bytes]:
        """The body as it comes, in pieces of any size. Raises as `body` does."""
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise WireError("expected Transfer-Encoding: chunked alone, or a Content-Length")
            yield from self._chunks(most)
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 19):
                raise WireError("expected one whole number as Content-Length")
            yield from self._part(_at_most(int(length), most))

    def waits(self) -> bool:
        """Has nothing come yet of what is to be read next?"""
        return not self._buffer

    def send(self, first: str, headers: Mapping[str, str], body: bytes) -> None:
        """A whole message; the headers say how long it is.

        Raises:
            OSError: the connection broke.
        """
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{first}\r\n{fields}\r\n".encode("latin-1")
        if len(body) <= LARGEST_HEAD:
            self.socket.sendall(head + body)  # in one packet, where it fits
        else:
            self.socket.sendall(head)
            self.socket.sendall(body)

    def _chunks(self, most: int) -> Iterator[bytes]:
        size = 0
        while length := _length(self._line()):
            size = _at_most(size + length, most)
            yield from self._part(length)
            if self._line():
                raise WireError("expected the end of a chunk where its length says")
        trailers = LARGEST_HEAD
        while line := self._line():
            trailers -= len(line)
            if trailers < 0:
                raise WireError(f"expected at most {LARGEST_HEAD} bytes of trailers")

    def _part(self, size: int) -> Iterator[bytes]:
        """That many bytes, as they come."""
        while size:
            if not self._buffer and not self._receive():
                raise WireError(f"the body ends too early: expected {size} bytes more")
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(piece)
            yield piece

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > LARGEST_HEAD or not self._receive():
                raise WireError("expected a line: the length of a chunk, or a trailer")
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _receive(self) -> bool:
        data = self.socket.recv(LARGEST_HEAD)
        self._buffer += data
        return bool(data)


def status_line(status: int) -> str:
    """The first line of a response."""
    return f"HTTP/1.1 {status} {REASONS.get(status, '')}"


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name.strip() != name:
            raise WireError("expected headers as NAME: VALUE")
        name, value = name.lower(), value.strip(" \t")
        # Of two lengths neither is believed: joined, they are no number.
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _length(line: bytes) -> int:
    """The length that begins a chunk."""
    digits = line.partition(b";")[0].strip()
    if not 0 < len(digits) < 16 or set(digits) - _HEXADECIMAL:
        raise WireError("expected the length of a chunk in hexadecimal")
    return int(digits, 16)


def _at_most(size: int, most: int) -> int:
    if size > most:
        raise RequestError(f"expected at most {most} bytes: send fewer rows at a time", 413)
    return size
