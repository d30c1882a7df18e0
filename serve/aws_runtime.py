"""The runtime API of Lambda: what a function asks for its events, and tells of their answers.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import sys
from socket import create_connection

from serve.forms import JSON
from serve.wire import Wire, WireError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping


class RuntimeApi:
    """The runtime API of Lambda, on one connection that is opened again when it was closed."""

    __slots__ = ("_address", "_wire")

    def __init__(self, address: str) -> None:
        self._address = address
        self._wire: Wire | None = None

    def next(self) -> tuple[bytes, str]:
        """The next event, waited for as long as it takes, and the name of its invocation."""
        status, headers, event = self._ask("GET", "invocation/next", {}, b"")
        name = headers.get("lambda-runtime-aws-request-id")
        if status != 200 or name is None:
            text = f"expected an event from Lambda, got status {status}: {event!r}"
            raise SystemExit(f"serve: {text}")
        return event, name

    def post(self, path: str, body: bytes, **headers: str) -> None:
        """Tell Lambda what became of an event."""
        status, _, said = self._ask("POST", path, {"Content-Type": JSON, **headers}, body)
        if status >= 300:
            print(f"serve: Lambda refused {path}: {status} {said!r}", file=sys.stderr, flush=True)

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        first = f"{method} /2018-06-01/runtime/{path} HTTP/1.1"
        headers = {"Host": self._address, "Content-Length": str(len(body)), **headers}
        if self._wire is not None:
            try:
                return self._exchange(self._wire, first, headers, body)
            except OSError:
                pass  # it was closed since the last time: ask once more
        host, _, port = self._address.rpartition(":")
        self._wire = Wire(create_connection((host, int(port))))
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
