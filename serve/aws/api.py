"""The runtime API of Lambda: what a function asks for its events, and tells of their answers.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import sys
from socket import create_connection

from serve.aws.context import Context
from serve.body.forms import JSON
from serve.http.wire import Wire, WireError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from socket import socket

ROOT = "/2018-06-01/runtime"


class RuntimeApi:
    """The runtime API of Lambda, on one connection that is opened again when it was closed."""

    __slots__ = ("_address", "_wire")

    def __init__(self, address: str) -> None:
        self._address = address
        self._wire: Wire | None = None

    def next(self) -> tuple[bytes, Context]:
        """The next event, waited for as long as it takes, and what is told of its invocation."""
        status, headers, event = self._ask("GET", "invocation/next", {}, b"")
        name = headers.get("lambda-runtime-aws-request-id")
        if status != 200 or name is None:
            text = f"expected an event from Lambda, got status {status}: {event!r}"
            raise SystemExit(f"serve: {text}")
        return event, Context(name, headers)

    def post(self, path: str, body: bytes, **headers: str) -> None:
        """Tell Lambda what became of an event."""
        status, _, said = self._ask("POST", path, {"Content-Type": JSON, **headers}, body)
        if status >= 300:
            _tell(f"Lambda refused {path}: {status} {said!r}")

    def stream(self, path: str, headers: Mapping[str, str], pieces: Iterable[bytes]) -> None:
        """Tell Lambda what becomes of an event while it does; each piece is sent when it is there.

        The connection is one of its own: what has been sent can not be sent again on another.
        """
        wire = Wire(self._connected())
        coding = {"Host": self._address, "Transfer-Encoding": "chunked", "Connection": "close"}
        try:
            wire.send(f"POST {ROOT}/{path} HTTP/1.1", {**coding, **headers}, b"")
            for piece in pieces:
                wire.socket.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            wire.socket.sendall(b"0\r\n\r\n")
            head = wire.head()
            status, said = (head[0].split(" ")[1], wire.body(head[1])) if head else ("", b"")
        except OSError as error:  # nobody waits for it any more
            status, said = "", str(error).encode()
        finally:
            wire.socket.close()
        if not status.startswith("2"):
            _tell(f"Lambda refused {path}: {status} {said!r}")

    def _connected(self) -> socket:
        host, _, port = self._address.rpartition(":")
        return create_connection((host, int(port)))

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        first = f"{method} {ROOT}/{path} HTTP/1.1"
        headers = {"Host": self._address, "Content-Length": str(len(body)), **headers}
        if self._wire is not None:
            try:
                return self._exchange(self._wire, first, headers, body)
            except OSError:
                pass  # it was closed since the last time: ask once more
        self._wire = Wire(self._connected())
        return self._exchange(self._wire, first, headers, body)

    def _exchange(
        self, wire: Wire, first: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        wire.send(first, headers, body)
        head = wire.head()
        if head is None:
            raise WireError("Lambda hung up without an answer")
        status = head[0].split(" ")[1]
        content = wire.body(head[1])
        if head[1].get("connection", "").lower() == "close":
            wire.socket.close()
            self._wire = None
        return int(status), head[1], content


def _tell(text: str) -> None:
    print(f"serve: {text}", file=sys.stderr, flush=True)
