"""The caller's end of a fork server: one connection, which is one instance."""

from __future__ import annotations

import json
import socket
from contextlib import suppress

from serve.body.forms import JSON
from serve.errors import RequestError, ServeError
from serve.http.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType
    from typing import Any

GONE = "the instance ended without an answer: see the log of the fork server, and connect again"


def connect(path: str | PathLike[str]) -> Instance:
    """A new instance, of the fork server that listens on the Unix socket at `path`.

    Raises:
        OSError: nobody listens there, or nobody whom this user may ask.
    """
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.connect(str(path))
    except BaseException:
        connected.close()
        raise
    return Instance(connected)


class Instance:
    """`instance(body)` is the answer to a request, as that of the bundle's handler is.

    A process answers here and nowhere else; it ends when this is closed. One thread at a time.
    """

    __slots__ = ("_wire",)

    def __init__(self, connected: socket.socket) -> None:
        self._wire = Wire(connected)

    def __call__(self, body: bytes, content_type: str = JSON, accept: str | None = None) -> bytes:
        """The answer to a request.

        Raises:
            RequestError: the request is wrong; `.status` says in what way.
            ServeError: there are too many instances, or this one ended or failed.
        """
        accepted = {"Accept": accept} if accept else {}
        return self._ask("POST", body, {"Content-Type": content_type, **accepted})

    def describe(self) -> dict[str, Any]:
        """What the model is, and how it runs. Raises as a call does."""
        return json.loads(self._ask("GET", b"", {}))

    def close(self) -> None:
        """Hang up, which ends the process."""
        self._wire.socket.close()

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, method: str, body: bytes, headers: dict[str, str]) -> bytes:
        fixed = {"Host": "instance", "Content-Length": str(len(body))}
        with suppress(BrokenPipeError):  # it hung up before it was asked, and may have said why
            self._wire.send(f"{method} / HTTP/1.1", {**fixed, **headers}, body)
        try:
            head = self._wire.head()
            content = self._wire.body(head[1]) if head else b""
        except ConnectionError:
            head, content = None, b""
        if head is None:
            raise ServeError(GONE)
        status = int(head[0].split(" ")[1])
        if status == 200:
            return content
        said = json.loads(content)["error"]
        raise RequestError(said, status) if status < 500 else ServeError(said)
