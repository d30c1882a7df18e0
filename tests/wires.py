"""Bad wires and bad registries, for tests: connections that drop, servers that lie."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import lamda as lm

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Proxy:
    """Forwards connections to a server; each of the first ``drops`` ends after ``after`` bytes.

    ``up`` and ``down`` count the bytes that were let through.
    """

    def __init__(self, target: str, drops: int = 0, after: int = 0, way: str = "up") -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self.drops, self.after, self.way = drops, after, way
        self.up = self.down = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._pump, args=(server, client, "down"), daemon=True)
            back.start()
            self._pump(client, server, "up")
            back.join()

    def _pump(self, one: socket.socket, other: socket.socket, way: str) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if way == self.way and passed + len(data) > self.after and self._drop():
                    break
                passed += len(data)
                setattr(self, way, getattr(self, way) + len(data))
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> bool:
        with self._lock:
            self.drops -= 1
            return self.drops >= 0

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


class Fake:
    """A registry that serves a store, but for what ``answers`` says of a path's end.

    ``asked`` are ``(method, path, headers)`` of every request.
    """

    def __init__(self, store: lm.Store, ref: str = "m") -> None:
        self.store, self.manifest = store, store.find(ref)
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake.asked.append((self.command, self.path, dict(self.headers)))
                for end, answer in fake.answers.items():
                    if end in self.path:
                        return answer(self)
                fake.serve(self)

            do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer as a registry does."""
        _, kind, name = handler.path.rsplit("/", 2)
        digest = self.manifest if (kind, name) == ("manifests", "m") else name
        if not digest.startswith("sha256:") or not self.store.blobs.has(digest):
            return answer(handler, b"", 404)
        answer(handler, self.store.blobs.get(digest), digest=digest)

    @contextlib.contextmanager
    def running(self) -> Iterator[Fake]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


class Receiver(Fake):
    """A registry that keeps what comes of an upload, as the specification says.

    It takes one repository; the connection ends inside of the first chunk that crosses ``cut``.
    """

    def __init__(self, store: lm.Store, cut: int) -> None:
        super().__init__(store)
        self.cut = cut
        self.came = 0
        self.begun = 0
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self._upload = bytearray()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Take an upload."""
        path, _, query = handler.path.partition("?")
        kind, name = path.rsplit("/", 2)[1:]
        if kind == "uploads":
            self._take(handler, name, query)
        elif handler.command == "PUT":
            data = self._body(handler)
            self.manifests[name] = data
            self.manifests[f"sha256:{hashlib.sha256(data).hexdigest()}"] = data
            answer(handler, b"", 201)
        else:
            known = self.manifests if kind == "manifests" else self.blobs
            data = known.get(name)
            digest = "" if data is None else f"sha256:{hashlib.sha256(data).hexdigest()}"
            answer(handler, data or b"", 404 if data is None else 200, digest)

    def _take(self, handler: BaseHTTPRequestHandler, name: str, query: str) -> None:
        place = {"Location": "/v2/m/blobs/uploads/1"}
        if handler.command == "POST":
            self._upload = bytearray()
            self.begun += 1
            answer(handler, b"", 202, **place)
        elif handler.command == "GET":
            answer(handler, b"", 204, Range=f"0-{max(0, len(self._upload) - 1)}", **place)
        else:
            self._receive(handler)
            if not handler.close_connection and handler.command == "PUT":
                self.blobs[query.removeprefix("digest=")] = bytes(self._upload)
            if not handler.close_connection:
                answer(handler, b"", 201 if handler.command == "PUT" else 202, **place)

    def _receive(self, handler: BaseHTTPRequestHandler) -> None:
        left = int(handler.headers["Content-Length"])
        while left and (data := handler.rfile.read(min(left, 1 << 16))):
            left -= len(data)
            self._upload += data
            self.came += len(data)
            if self.came > self.cut:
                self.cut = 1 << 60
                handler.close_connection = True
                handler.connection.shutdown(socket.SHUT_RDWR)
                return

    def _body(self, handler: BaseHTTPRequestHandler) -> bytes:
        return handler.rfile.read(int(handler.headers["Content-Length"]))


def answer(
    handler: BaseHTTPRequestHandler, data: bytes, status: int = 200, digest: str = "", **more: str
) -> None:
    """Send an answer; ``more`` are headers, with ``_`` for ``-``."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    if digest:
        handler.send_header("Docker-Content-Digest", digest)
    for name, value in more.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        with contextlib.suppress(OSError):
            handler.wfile.write(data)


def say(value: object) -> bytes:
    """JSON."""
    return json.dumps(value).encode()
