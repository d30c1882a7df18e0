"""The action protocol: what OpenWhisk asks of a container, `POST /init` once and `POST /run` often.

The image has its bundle already, so `/init` has no code to bring, only variables for the
environment. After each run a line that says so ends what it wrote on stdout and on stderr.

Source: https://github.com/apache/openwhisk/blob/master/docs/actions-new.md
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from socket import create_server

from serve.body.codec import parse
from serve.body.forms import JSON
from serve.body.lists import shown
from serve.errors import RequestError, ServeError
from serve.http.routes import logged
from serve.http.wire import Wire, WireError, status_line
from serve.openwhisk.action import make_main

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket
    from typing import Any

    from serve.handler import Handler

PORT = 8080
GRACE = 10  # seconds for what is under way when the container is told to stop
LARGEST = 64 << 20  # bytes of a message: more than OpenWhisk lets through
END = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
CODE = "expected no code, as the image has its bundle: leave the file out of wsk action create"


class Proxy:
    """The two messages of the protocol, around a handler that is loaded by the first."""

    def __init__(self, load: Callable[[], Handler]) -> None:
        self._load = load
        self._main: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self._lock = threading.Lock()
        self._idle = threading.Condition()
        self._under_way = 0

    def __enter__(self) -> None:
        """From here on a message is under way."""
        with self._idle:
            self._under_way += 1

    def __exit__(self, *_: object) -> None:
        with self._idle:
            self._under_way -= 1
            self._idle.notify_all()

    def finish(self) -> None:
        """Wait for what is under way."""
        with self._idle:
            self._idle.wait_for(lambda: not self._under_way, GRACE)

    def respond(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """The status and the JSON that answer a message. Never raises."""
        if (method, path) not in (("POST", "/init"), ("POST", "/run")):
            return 404, {"error": "no such path: expected POST /init or POST /run"}
        try:
            message = parse(body, JSON)
            value = message.get("value", {}) if type(message) is dict else message
            if type(value) is not dict:
                raise RequestError(f'expected {{"value": an object}}, got {shown(value)}')
            return self._init(value) if path == "/init" else self._run(message, value)
        except RequestError as error:
            return error.status, {"error": str(error)}
        except Exception:
            return 502, {"error": logged()}

    def _init(self, value: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if self._main is not None:
                return 403, {"error": "Cannot initialize the action more than once."}
            if value.get("code"):
                return 502, {"error": CODE}
            _environment(value.get("env"))
            try:
                self._main = make_main(self._load())
            except ServeError as error:
                return 502, {"error": str(error)}
            return 200, {"ok": True}

    def _run(self, message: dict[str, Any], args: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self._main is None:
            return 500, {"error": "Cannot invoke an uninitialized action: expected /init first."}
        told = {k: v for k, v in message.items() if k != "value"}
        _environment({f"__OW_{k.upper()}": v for k, v in told.items()})
        return 200, self._main(args)


def run(arguments: list[str]) -> int:
    """Answer at $PORT, or 8080, until SIGTERM; what is under way then is finished."""
    from serve.start import load

    proxy = Proxy(lambda: load("openwhisk", *arguments[:1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with create_server(("", int(os.environ.get("PORT") or PORT)), backlog=64) as bound:
        try:
            while True:
                client, _ = bound.accept()
                threading.Thread(target=_talk, args=(proxy, client), daemon=True).start()
        finally:
            proxy.finish()


def _talk(proxy: Proxy, client: socket) -> None:
    """Answer what comes on one connection."""
    wire = Wire(client)
    with client:
        try:
            while head := wire.head():
                with proxy:
                    _answer(proxy, wire, *head)
        except (RequestError, WireError) as error:
            _refuse(wire, error)
        except OSError:
            return  # the invoker left


def _answer(proxy: Proxy, wire: Wire, first: str, headers: dict[str, str]) -> None:
    method, _, rest = first.partition(" ")
    path = rest.partition(" ")[0]
    status, found = proxy.respond(method, path, wire.body(headers, LARGEST))
    if path == "/run":
        print(END, flush=True)
        print(END, file=sys.stderr, flush=True)
    _send(wire, status, found)


def _refuse(wire: Wire, error: RequestError | WireError) -> None:
    status = error.status if isinstance(error, RequestError) else 400
    with contextlib.suppress(OSError):
        _send(wire, status, {"error": str(error)}, close=True)


def _send(wire: Wire, status: int, value: dict[str, Any], close: bool = False) -> None:
    body = json.dumps(value, separators=(",", ":")).encode()
    headers = {"content-type": JSON, "content-length": str(len(body))}
    headers |= {"connection": "close"} if close else {}
    wire.send(status_line(status), headers, body)


def _environment(values: Any) -> None:
    """Variables that are texts; what can be none of the environment is left out."""
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, str) and name and "=" not in name and "\0" not in name + value:
            try:
                os.environ[name] = value
            except ValueError:  # half of a surrogate pair
                continue
