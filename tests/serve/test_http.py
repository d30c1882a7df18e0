"""HTTP, as a stranger meets it: through sockets, and with whatever can be wrong in a request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import make
import numpy as np
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from memory import ADDRESS, Bundle, doubling, handler

import serve.http
from serve.body.forms import MSGPACK, NPY
from serve.errors import BundleError
from serve.handler import Handler
from serve.http.asgi import make_app

HERE = Path(__file__).parent
MOST = 1000


@contextlib.contextmanager
def serving(function: Handler) -> Iterator[str]:
    """The URL of uvicorn, in a thread, around the handler."""
    # Its logging would close the handlers of others, and the streams that they write to.
    config = uvicorn.Config(make_app(function), log_config=None, ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(doubling(max_bytes=MOST)) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=10) as client:
        yield client


def raw(url: str, request: bytes, more: Iterable[bytes] = ()) -> bytes:
    """What the server says, as bytes, to bytes; `more` is sent for as long as it takes them."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as peer:
        peer.sendall(request)
        answer = b""
        peer.settimeout(0.05)
        for chunk in more:
            peer.sendall(chunk)
            with contextlib.suppress(TimeoutError):
                answer = peer.recv(65536)
                break
        peer.settimeout(10)
        while not complete(answer):
            received = peer.recv(65536)
            if not received:
                break
            answer += received
        return answer


def complete(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return length is not None and len(body) == int(length[1])


def test_post_answers(client: httpx.Client) -> None:
    response = client.post("/", json=[[1, 2], [3, 4.5]])
    assert response.status_code == 200
    assert response.json() == [[2, 4], [6, 9]]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["lamda-address"] == ADDRESS
    assert response.headers["x-content-type-options"] == "nosniff"
    assert client.post("/", content=b"[[1,2]]").json() == [[2, 4]]  # no Content-Type is JSON
    binary = client.post("/", content=b"[[1,2]]", headers={"Accept": NPY})
    assert binary.headers["content-type"] == NPY
    again = client.post("/?x=1", content=binary.content, headers={"Content-Type": NPY})
    assert again.headers["content-type"] == NPY
    assert np.frombuffer(again.content[-8:], "<f4").tolist() == [4, 8]


def test_get_describes_and_head_has_no_body(client: httpx.Client) -> None:
    found = client.get("/").json()
    assert (found["name"], found["address"], found["input"]) == ("memory", ADDRESS, "float32[b, 2]")
    assert client.post("/", content=found["request"]["body"]).json() == [[2, 4]]
    assert client.get("/healthz").json() == {"status": "ok"}
    for path in ("/", "/healthz"):
        head, get = client.head(path), client.get(path)
        assert head.content == b""
        assert head.status_code == 200
        assert head.headers["content-length"] == str(len(get.content))


BROKEN = [
    ("[[1,2]", 400, "the request is not JSON: Expecting ',' delimiter at line 1 column 7"),
    ("", 400, "the request is empty: expected float32[b, 2], such as [[1.0, 2.0]]"),
    ("[[NaN,1]]", 400, "NaN is not JSON: expected a finite number"),
    ('[["1",2]]', 400, 'input[0][0]: expected a number for float32[b, 2], got "1"'),
    (
        "[1,2]",
        400,
        "input[0]: expected a list, as float32[b, 2] is a list of lists of numbers, got 1",
    ),
    ("[[1,2,3]]", 400, "input[0]: expected a list of 2 for float32[b, 2], got a list of 3"),
    ("[[1,2],[3]]", 400, "input[1]: expected a list of 2 for float32[b, 2], got a list of 1"),
    ("[]", 400, "input: expected b from 1 to 65536 in float32[b, 2], got 0"),
    (
        '{"<script>": 1}',
        400,
        "input: expected a list, as float32[b, 2] is a list of lists of numbers, "
        "got an object with '<script>'",
    ),
    ("[" * 999, 400, "the request is nested too deeply"),
    ("[" * 1001, 413, "expected at most 1000 bytes: send fewer rows at a time"),
]


@pytest.mark.parametrize(("body", "status", "message"), BROKEN)
def test_a_broken_body_is_a_4xx_that_says_why(
    client: httpx.Client, body: str, status: int, message: str
) -> None:
    response = client.post("/", content=body.encode())
    assert (response.status_code, response.json()) == (status, {"error": message})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_missing_fields_are_named() -> None:
    of = {"dict": {"a": {"array": ["int8", []]}, "b": {"array": ["int8", []]}}}
    with serving(handler(Bundle(of, of), lambda a, b: [a, b])) as url:
        assert httpx.post(url, json={"a": 1, "b": 2}).json() == {"a": 1, "b": 2}
        response = httpx.post(url, json={"a": 1})
        assert response.status_code == 400
        error = 'input: "b" is missing, expected {"a": int8[], "b": int8[]}'
        assert response.json() == {"error": error}


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("POST", "/healthz/", 404, None),
        ("POST", "/<b>", 404, None),
        ("PUT", "/", 405, "GET, HEAD, POST"),
        ("OPTIONS", "/", 405, "GET, HEAD, POST"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("BREW", "/healthz", 405, "GET, HEAD"),
    ],
)
def test_wrong_paths_and_methods(
    client: httpx.Client, method: str, path: str, status: int, allow: str | None
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers.get("allow") == allow
    assert list(response.json()) == ["error"]
    assert "<b>" not in response.text


def test_json_as_curl_sends_it(client: httpx.Client) -> None:
    unsaid = {"Content-Type": "application/x-www-form-urlencoded"}
    body = json.dumps(client.get("/").json()["example"])
    answers = [client.post("/", content=body, headers=headers) for headers in (unsaid, {})]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content


def test_wrong_content_types(client: httpx.Client) -> None:
    response = client.post("/", content=b"<x/>", headers={"Content-Type": "application/xml"})
    assert response.status_code == 415
    assert response.json() == {
        "error": "expected the content type application/json or application/msgpack or "
        'application/x-npy or application/octet-stream, got "application/xml"'
    }
    refused = client.post("/", json=[[1, 2]], headers={"Accept": "text/html"})
    assert refused.status_code == 406
    broken = client.post("/", content=b"\xc1", headers={"Content-Type": MSGPACK})
    assert broken.status_code == 400


def test_a_declared_length_that_is_too_large_is_refused_unread(url: str) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n"
    answer = raw(url, head)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"expected at most 1000 bytes" in answer


def test_an_endless_chunked_body_is_refused_early(url: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"200\r\n" + b"1" * 512 + b"\r\n"
        pytest.fail("51200 bytes were taken where 1000 are allowed")

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(url, head, endless())
    assert answer.startswith(b"HTTP/1.1 413")
    small = head + b"4\r\n[[1,\r\n3\r\n2]]\r\n0\r\n\r\n"
    assert raw(url, small).endswith(b"[[2,4]]")


def test_a_client_that_leaves_is_no_trouble(
    url: str, client: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    host, port = url.removeprefix("http://").split(":")
    for request in (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[[1", b"POST", b""):
        with socket.create_connection((host, int(port))) as peer:
            peer.sendall(request)
    with socket.create_connection((host, int(port))) as peer:  # it leaves before the answer
        peer.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n[[1,2]]")
    assert client.post("/", json=[[1, 2]]).json() == [[2, 4]]
    assert "Traceback" not in capfd.readouterr().err


def test_what_is_no_http_is_a_400(url: str) -> None:
    for request in (b"\x16\x03\x01\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        assert raw(url, request).startswith(b"HTTP/1.1 400")


def test_health_is_answered_during_a_long_call() -> None:
    started, go = threading.Event(), threading.Event()
    one = {"array": ["float32", []]}

    def slow(x: np.ndarray) -> list[np.ndarray]:
        started.set()
        assert go.wait(10)
        return [x]

    with serving(handler(Bundle(one, one), slow)) as url:
        answers: list[str] = []
        call = threading.Thread(target=lambda: answers.append(httpx.post(url, json=1).text))
        call.start()
        try:
            assert started.wait(10)
            assert httpx.get(url + "/healthz", timeout=5).json() == {"status": "ok"}
            assert answers == []
        finally:
            go.set()
            call.join(10)
        assert answers == ["1"]


def test_a_request_that_takes_too_long_is_a_504_and_others_are_answered() -> None:
    go = threading.Event()
    one = {"array": ["float32", []]}

    def slow(x: np.ndarray) -> list[np.ndarray]:
        assert x < 0 or go.wait(10)
        return [x]

    function = handler(Bundle(one, one), slow, max_seconds=0.3)
    with serving(function) as url:
        try:
            response = httpx.post(url, json=1, headers={"X-Request-Id": "a-1"})
            assert response.status_code == 504
            assert response.json()["error"].startswith("expected an answer within 0.3 s: send few")
            assert response.headers["x-request-id"] == "a-1"
            assert httpx.post(url, json=-1).json() == -1
        finally:
            go.set()
        assert 'route="/",method="POST",status="504"' in httpx.get(url + "/metrics").text


def test_a_body_that_does_not_come_is_waited_for_only_so_long(url: str) -> None:
    with serving(doubling(max_seconds=0.3)) as url:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n[[1"
        assert raw(url, head).startswith(b"HTTP/1.1 504")


def test_requests_too_many_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.http.asgi, "MOST", 2)
    go, one = threading.Event(), {"array": ["float32", []]}
    started = threading.Semaphore(0)

    def slow(x: np.ndarray) -> list[np.ndarray]:
        started.release()
        assert go.wait(10)
        return [x]

    with serving(handler(Bundle(one, one), slow)) as url:
        calls = [threading.Thread(target=lambda: httpx.post(url, json=1)) for _ in range(2)]
        for call in calls:
            call.start()
        try:
            assert all(started.acquire(timeout=10) for _ in calls)
            refused = httpx.post(url, json=1)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["error"].startswith("there are 2 requests under way already: ")
        finally:
            go.set()
            for call in calls:
                call.join(10)
        assert httpx.post(url, json=1).json() == 1


def test_a_bug_is_logged_and_not_told(capfd: pytest.CaptureFixture[str]) -> None:
    one = {"array": ["float32", []]}

    def wrong(x: np.ndarray) -> list[np.ndarray]:
        raise ZeroDivisionError("secret")

    with serving(handler(Bundle(one, one), wrong)) as url:
        response = httpx.post(url, json=1)
    assert response.status_code == 500
    name = response.json()["error"].removeprefix("internal error, request ")
    assert "secret" not in response.text
    log = capfd.readouterr().err
    assert f"request {name} failed:\nTraceback" in log
    assert "ZeroDivisionError: secret" in log


def asgi(scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends when it receives these messages."""
    sent: list[dict[str, Any]] = []
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        await make_app(doubling(max_bytes=MOST))(scope, receive, send)

    asyncio.run(run())
    return sent


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "\0"]),
    st.sampled_from(["/", "/", "/healthz"]) | st.text(),
    st.lists(
        st.tuples(
            st.sampled_from([b"content-type", b"accept", b"content-length", b"x"]),
            st.binary(max_size=30) | st.sampled_from([b"*/*", b"application/json", b"9" * 5000]),
        ),
        max_size=4,
    ),
    st.lists(st.binary(max_size=600) | st.sampled_from([b"[[1,2]]", b"[", b"]"]), max_size=4),
)
def test_no_request_at_all_is_a_500(
    method: str, path: str, headers: list[tuple[bytes, bytes]], chunks: list[bytes]
) -> None:
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    body = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    start, end = asgi(scope, *body, {"type": "http.request"})
    assert start["status"] == 200 or 400 <= start["status"] < 500
    if start["status"] != 200 and method != "HEAD":
        assert list(json.loads(end["body"])) == ["error"]


def test_the_rest_of_asgi() -> None:
    start, stop = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
    assert asgi({"type": "lifespan"}, start, stop) == [
        {"type": "lifespan.startup.complete"},
        {"type": "lifespan.shutdown.complete"},
    ]
    assert asgi({"type": "websocket"}) == [{"type": "websocket.close", "code": 1003}]
    post = {"type": "http", "method": "POST", "path": "/", "headers": []}
    assert asgi(post, {"type": "http.disconnect"}) == []
    mounted = {"type": "http", "method": "GET", "path": "/m", "root_path": "/m", "headers": []}
    assert asgi(mounted)[0]["status"] == 200
    head = {"type": "http", "method": "HEAD", "path": "/", "headers": []}
    assert asgi(head)[1]["body"] == b""


# The command


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make.dense(tmp_path_factory.mktemp("bundle"), executables=False)


def command(
    *arguments: str, input: bytes = b"", before: str = ""
) -> subprocess.CompletedProcess[bytes]:
    path = os.pathsep.join([before, make.ROOT] if before else [make.ROOT])
    return subprocess.run(
        [sys.executable, "-m", "serve", *arguments],
        input=input,
        capture_output=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )


@contextlib.contextmanager
def running(*arguments: str, script: str | None = None) -> Iterator[tuple[subprocess.Popen, str]]:
    """The command as a process, and the line that it printed when it was ready."""
    process = subprocess.Popen(
        [sys.executable, *(["-c", script] if script else ["-m", "serve"]), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([make.ROOT, str(HERE)])},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, line
    finally:
        process.kill()
        process.communicate()


def test_the_command_serves_until_it_is_told_to_stop(bundle: str) -> None:
    with running(bundle, "--port", "0") as (process, line):
        manifest = make.read(bundle)
        assert line.startswith(f"serving dense {manifest['address']} at http://127.0.0.1:")
        url = line.split(" at ")[1].split(" ")[0]
        answer = httpx.post(url, json=manifest["example"], timeout=30).json()
        kernel, bias, scale, _ = make.dense_weights()
        x = np.float32(manifest["example"])
        np.testing.assert_allclose(answer, scale * (x @ kernel + bias), rtol=1e-6)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        out, log = process.communicate()
        assert (out, log.count("\n")) == ("", 1)
        told = json.loads(log.removeprefix("serve: started "))
        assert (told["front"], told["name"], told["way"]) == ("http", "dense", "compiled")
        assert told["address"] == manifest["address"]
        assert told["why"] in line


SLOW = """
import sys, time
import serve
from memory import Bundle, handler
from serve.__main__ import main

def slow(x):
    print("called", flush=True)
    time.sleep(0.5)
    return [x]

def load(directory, **_):
    made = handler(Bundle(one, one), slow)
    made.engine.warm = lambda: None
    return made

one = {"array": ["float32", []]}
serve.load = load
sys.exit(main(["x", "--port", "0"]))
"""


def test_what_has_begun_is_finished_before_the_end() -> None:
    with running(script=SLOW) as (process, line):
        assert line.startswith(f"serving memory {ADDRESS} at ")
        assert line.endswith("(memory: a test)\n")
        url = line.split(" at ")[1].split(" ")[0]
        answers: list[str] = []
        call = threading.Thread(target=lambda: answers.append(httpx.post(url, json=1).text))
        call.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "called\n"
        process.send_signal(signal.SIGTERM)
        call.join(10)
        assert answers == ["1"]
        assert process.wait(10) == 0


def test_the_command_answers_one_request(bundle: str, tmp_path: Path) -> None:
    done = command(bundle, "--request", "-", input=b"[[0,0,0],[1,2,3]]")
    assert json.loads(done.stdout) == [[1, -1], [5, 4.5]]
    (tmp_path / "x.json").write_bytes(b"[[0,0]]")
    done = command(bundle, "--request", str(tmp_path / "x.json"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        "serve: input[0]: expected a list of 3 for float32[b, 3], got a list of 2\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "serve: the following arguments are required: DIR; see python -m serve --help\n"),
        (
            ["x", "--port", "-1"],
            2,
            "serve: argument --port: expected a port from 0 to 65535, got '-1'; "
            "see python -m serve --help\n",
        ),
        (
            ["x", "--prot", "1"],
            2,
            "serve: unrecognized arguments: --prot 1; see python -m serve --help\n",
        ),
        (["/no/such"], 1, "serve: /no/such/manifest.json does not exist. A bundle is a directory"),
    ],
)
def test_wrong_arguments_have_one_line(arguments: list[str], code: int, message: str) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode().startswith(message)
    assert done.stderr.count(b"\n") == 1


def test_a_taken_port_and_a_missing_uvicorn_have_one_line(bundle: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command(bundle, "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"serve: can not listen on 127.0.0.1:{port}: Address")
    assert done.stderr.count(b"\n") == 1
    (tmp_path / "uvicorn.py").write_text("raise ImportError")
    done = command(bundle, before=str(tmp_path))
    assert done.returncode == 1
    missing = b'serve: HTTP takes the package uvicorn: install it, or "lamda[http]"\n'
    assert done.stderr.endswith(missing)
    bare = [sys.executable, "-S", "-m", "serve", bundle]
    done = subprocess.run(bare, capture_output=True, cwd=make.ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", missing)


def test_the_app_of_the_environment(monkeypatch: pytest.MonkeyPatch, bundle: str) -> None:
    monkeypatch.delenv("LAMDA_BUNDLE", raising=False)
    with pytest.raises(BundleError) as caught:
        serve.http.app
    assert str(caught.value) == "LAMDA_BUNDLE is not set: expected the directory of a bundle"
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        serve.http.other
    script = """
import contextlib, io, json, serve.http
with contextlib.redirect_stderr(io.StringIO()) as log:
    same = serve.http.app is serve.http.app
print(json.dumps([same, log.getvalue()]))
"""
    same, log = make.python(script, LAMDA_BUNDLE=bundle)
    assert same
    assert log.startswith('serve: started {"front": "http", "name": "dense", ')
    assert log.count("\n") == 1


def test_a_handler_imports_nothing_that_it_does_not_need() -> None:
    script = """
import json, sys
import serve.handler, serve.http, serve.aws
print(json.dumps([name for name in sys.modules]))
"""
    found = make.python(script, bare=True)
    heavy = {"jax", "numpy", "lamda", "msgpack", "tokenizers", "uvicorn", "asyncio", "typing"}
    assert heavy & set(found) == set()
