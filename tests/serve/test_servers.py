"""The applications under the servers that people have: ASGI and WSGI, each really started."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import httpx
import make
import numpy as np
import pytest
import tools
from memory import ADDRESS, doubling

import serve.wsgi
from serve.errors import BundleError
from serve.wsgi import make_app

GUNICORN = ("gunicorn", "27.0.1")
WORKER = ("uvicorn-worker", "0.4.0")
GRANIAN = ("granian", "2.8.7")
SERVERS = {
    "uvicorn": ((), ["uvicorn", "serve.http:app", "--port", "PORT", "--log-level", "warning"]),
    "granian": ((GRANIAN,), [
        "granian", "--interface", "asgi", "--port", "PORT", "--no-ws", "serve.http:app",
    ]),
    "granian-wsgi": ((GRANIAN,), [
        "granian", "--interface", "wsgi", "--port", "PORT", "serve.wsgi:app",
    ]),
    "gunicorn-uvicorn": ((GUNICORN, WORKER), [
        "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:PORT", "serve.http:app",
    ]),
    "gunicorn": ((GUNICORN,), [
        "gunicorn", "--threads", "4", "-b", "127.0.0.1:PORT", "serve.wsgi:app",
    ]),
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make.dense(tmp_path_factory.mktemp("bundle"))


@contextlib.contextmanager
def started(name: str, bundle: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server, its process and its URL, from when it is ready."""
    packages, (module, *arguments) = SERVERS[name]
    port = str(tools.free_port())
    command = [sys.executable, "-m", module, *(a.replace("PORT", port) for a in arguments)]
    path = os.pathsep.join([make.ROOT, *(str(tools.package(*each)) for each in packages)])
    url = f"http://127.0.0.1:{port}"
    with open(folder / "log", "w+b") as said:
        process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": path, "LAMDA_BUNDLE": bundle},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(url + "/readyz").status_code == 200:
                        break
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            yield process, url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("name", list(SERVERS))
def test_a_server_answers_and_ends(name: str, bundle: str, tmp_path: Path) -> None:
    manifest = make.read(bundle)
    with started(name, bundle, tmp_path) as (process, url), httpx.Client(base_url=url) as client:
        answer = client.post("/", json=manifest["example"], headers={"X-Request-Id": "a-1"})
        assert answer.status_code == 200
        assert answer.headers["lamda-address"] == manifest["address"]
        assert answer.headers["x-request-id"] == "a-1"
        assert len(client.get("/healthz").headers["x-request-id"]) == 16
        tag = {"If-None-Match": answer.headers["etag"]}
        assert client.post("/", json=manifest["example"], headers=tag).status_code == 304
        raw = np.zeros((1000, 3), "<f4").tobytes()
        packed = {"Content-Encoding": "gzip", "Content-Type": "application/octet-stream"}
        many = {"Accept": "application/json", **packed}
        zeros = client.post("/", content=gzip.compress(raw), headers=many)
        assert zeros.headers["content-encoding"] == "gzip"
        assert zeros.json() == [[1, -1]] * 1000
        chunked = client.post("/", content=iter([b"[[0,", b"0,0]]"]))
        assert chunked.json() == [[1, -1]]
        assert client.get("/who").json() == manifest["address"]
        head = client.head("/openapi.json")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 1000
        assert client.post("/", content=b"[" * 5000).status_code == 400
        assert client.get("/%C3%A9%0a?<b>").status_code == 404
        assert b'route="/"' in client.get("/metrics").content
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
        with pytest.raises(ProcessLookupError):  # nothing of its group is left
            os.killpg(process.pid, 0)
    assert "Traceback" not in (tmp_path / "log").read_text()


# WSGI, as the standard library checks it


def call(method: str = "POST", path: str = "/", body: bytes = b"", **more: Any) -> Any:
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "",
        "SERVER_NAME": "x", "SERVER_PORT": "1", "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)), "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr, "wsgi.multithread": True,
        "wsgi.multiprocess": False, "wsgi.run_once": False,
    } | more  # fmt: skip
    environ = {key: value for key, value in environ.items() if value is not None}
    told: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
        told.extend([status, dict(headers)])
        return lambda data: None

    parts = validator(make_app(doubling(max_bytes=100)))(environ, start)
    body = b"".join(parts)
    parts.close()
    return told[0], told[1], body


def test_wsgi_keeps_to_its_protocol() -> None:
    status, headers, body = call(body=b"[[1,2]]")
    assert (status, body) == ("200 OK", b"[[2,4]]")
    assert headers["lamda-address"] == ADDRESS
    assert len(headers["x-request-id"]) == 16
    assert call("GET", "/healthz")[2] == b'{"status": "ok"}'
    assert call("GET", "/\xc3\xa9")[0] == "404 Not Found"
    assert call("GET", "/\xff")[0] == "404 Not Found"
    assert call(body=b"[[1,2]]", CONTENT_TYPE="text/html")[0] == "415 Unsupported Media Type"


@pytest.mark.parametrize(
    ("length", "body", "status", "message"),
    [
        ("9", b"[[1,2]]", "400 Bad Request", "expected a body of 9 bytes, got 7"),
        ("101", b"", "413 Content Too Large", "expected at most 100 bytes: send fewer rows at"),
        ("9" * 30, b"", "400 Bad Request", "expected one whole number as Content-Length"),
        ("x", b"", "400 Bad Request", "expected one whole number as Content-Length"),
    ],
)
def test_wsgi_with_a_wrong_length(length: str, body: bytes, status: str, message: str) -> None:
    handler, told = doubling(max_bytes=100), []
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/", "CONTENT_LENGTH": length,
        "wsgi.input": io.BytesIO(body),
    }  # fmt: skip
    (said,) = make_app(handler)(environ, lambda *start: told.extend(start))
    assert told[0] == status
    assert len(dict(told[1])["x-request-id"]) == 16  # refused, it is named and counted all the same
    assert list(handler.watch.rows) == [("/", "POST", int(status[:3]))]
    assert json.loads(said)["error"].startswith(message)


def test_wsgi_without_a_length_reads_to_the_end_where_there_is_one() -> None:
    ends = {"CONTENT_LENGTH": None, "wsgi.input_terminated": True}
    assert call(body=b"[[1,2]]", **ends)[2] == b"[[2,4]]"
    assert call(body=b" " * 101, **ends)[0] == "413 Content Too Large"
    assert call(body=b"[[1,2]]", CONTENT_LENGTH=None)[0] == "400 Bad Request"  # it is empty


def test_the_wsgi_app_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMDA_BUNDLE", raising=False)
    with pytest.raises(BundleError, match="LAMDA_BUNDLE is not set: expected the directory of a"):
        serve.wsgi.app
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        serve.wsgi.other


# The end of `python -m serve`


@pytest.mark.parametrize(
    ("module", "after"),  # by the threads that are there first, by uvicorn, by uvicorn alone
    [("serve", 0.0), ("serve", 2.0), ("serve.knative", 0.0)],
)
def test_readiness_goes_down_first_and_the_rest_is_answered_for_a_while(
    bundle: str, module: str, after: float
) -> None:
    port = tools.free_port()
    said = ["--port", str(port)] if module == "serve" else []
    process = subprocess.Popen(
        [sys.executable, "-m", module, bundle, *said],
        env=os.environ | {"PYTHONPATH": make.ROOT, "LAMDA_DRAIN": "2.5", "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(url + "/readyz", timeout=10).status_code == 200:
                    break
            time.sleep(0.05)
        time.sleep(after)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        asked = httpx.get(url + "/readyz", timeout=10)
        assert (asked.status_code, asked.headers["retry-after"]) == (503, "1")
        assert httpx.post(url, content=b"[[0,0,0]]", timeout=10).json() == [[1, -1]]
        assert process.wait(10) == 0
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), 1):
            pass
    finally:
        process.kill()
        process.communicate()
