"""From the start of a process to its first answer: what waits, what is loaded, who answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import make
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from memory import doubling
from streams import lines, scanning

from serve.handler import Handler
from serve.http.asgi import make_app
from serve.http.connection import Connection
from serve.http.wire import Wire
from serve.runtime import plugins

HERE = Path(__file__).parent
BODY = b"[[1,2]]"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n" + BODY

# The command, in which the body of a module waits for a line of stdin.
WAITING = """
import sys
from importlib import abc
from importlib.util import find_spec

class Wait(abc.MetaPathFinder, abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            spec = find_spec(name)
            self.real, spec.loader = spec.loader, self
            return spec

    def exec_module(self, module):
        sys.stdin.readline()
        self.real.exec_module(module)

sys.meta_path.insert(0, Wait())
from serve.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make.dense(tmp_path_factory.mktemp("bundle"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def waiting(module: str, bundle: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """The command, which can not import a module before it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, module, bundle, "--port", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([make.ROOT, str(HERE)])},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def connected(port: int) -> socket.socket:
    """A connection to the port, as soon as it is listened on."""
    for _ in range(3000):
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        time.sleep(0.01)
    raise AssertionError(f"nobody listens on {port}")


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line


def test_a_request_that_comes_before_the_bundle_is_loaded_waits(bundle: str) -> None:
    port = free_port()
    with waiting("serve.bundle", bundle, port) as process, connected(port) as early:
        early.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[[1,2,3]]")
        early.settimeout(0.2)
        with pytest.raises(TimeoutError):
            early.recv(1)
        go_on(process)
        early.settimeout(30)
        assert early.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_answers_do_not_wait_for_uvicorn_which_takes_over(bundle: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with waiting("uvicorn.config", bundle, port) as process:
        assert f" at {url} " in ready(process)
        with httpx.Client(base_url=url, timeout=30) as kept, httpx.Client(base_url=url) as other:
            answer = kept.post("/", content=b"[[1,2,3]]")
            assert answer.headers["connection"] == "keep-alive"
            assert other.get("/healthz").json() == {"status": "ok"}
            go_on(process)
            # A connection that is kept is told to come again, and comes to uvicorn.
            again = answer
            while again.headers.get("connection") == "keep-alive":
                again = kept.post("/", content=b"[[1,2,3]]")
                assert again.json() == answer.json()
            assert again.headers["connection"] == "close"
            last = kept.post("/", content=b"[[1,2,3]]")
            assert last.json() == answer.json()
            assert "connection" not in last.headers  # uvicorn does not say what is the default
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_what_is_under_way_is_finished_also_before_uvicorn_is_there(bundle: str) -> None:
    port = free_port()
    with waiting("uvicorn.config", bundle, port) as process:
        ready(process)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as begun:
            begun.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n")
            begun.sendall(b"Content-Length: 9\r\n\r\n")
            assert begun.recv(65536).startswith(b"HTTP/1.1 100 ")
            process.send_signal(signal.SIGTERM)
            begun.sendall(b"[[1,2,3]]")
            assert begun.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert process.wait(10) == 0


SLOW = {
    "argparse", "asyncio", "base64", "ctypes.util", "dataclasses", "email", "http", "http.client",
    "importlib.metadata", "inspect", "jax", "logging", "msgpack", "numpy", "pathlib", "shutil",
    "ssl", "subprocess", "tempfile", "traceback", "typing", "urllib", "uvicorn",
}  # fmt: skip

FIRST = """
import json, sys
sys.argv = ["serve.aws", sys.argv[1]]
from serve import aws
from serve.aws import start
handler = start.load(sys.argv[1])
assert aws.invoke(handler, b"[[1,2,3]]")
from serve.http import connection
print(json.dumps(sorted(sys.modules)))
"""


def test_the_first_answer_imports_nothing_slow(bundle: str) -> None:
    found = plugins.find()
    assert found is not None
    modules = make.python(FIRST, bundle, bare=True, LAMDA_PJRT_PLUGIN=found.path)
    assert "serve.runtime.native" in modules
    assert SLOW & set(modules) == set()


# The connection that answers early, and in an instance of the fork server


def exchange(*pieces: bytes, of: Handler | None = None) -> bytes:
    """What a connection answers to these bytes, and the end of them."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    thread = threading.Thread(target=Connection(theirs, of or doubling(max_bytes=1000)).run)
    thread.start()
    with ours:
        ours.settimeout(10)
        with contextlib.suppress(OSError):  # it may have heard enough
            for piece in pieces:
                ours.sendall(piece)
            ours.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := ours.recv(65536):
                answer += part
    thread.join(10)
    assert not thread.is_alive()
    return answer


def test_requests_that_have_come_before_the_end_are_answered() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(theirs, doubling())
    connection.last = True
    ours.sendall(POST * 3)
    connection.run()
    with ours:
        answer = b""
        while part := ours.recv(65536):
            answer += part
    assert answer.count(b"[[2,4]]") == 3
    assert answer.count(b"connection: keep-alive") == 2
    assert answer.count(b"connection: close") == 1


@pytest.mark.parametrize("end", [False, True])
def test_a_promise_of_another_answer_is_kept(end: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was told to keep the connection sends on it, and must not find it closed."""
    ours, theirs = socket.socketpair()
    connection = Connection(theirs, doubling())
    send = Wire.send
    answers: list[bytes] = []

    def sent(wire: Wire, first: str, headers: dict[str, str], body: bytes) -> None:
        send(wire, first, headers, body)
        answers.append(headers["connection"].encode())
        if len(answers) == 1:
            ours.sendall(POST)
            if end:
                connection.end()
            connection.last = True

    monkeypatch.setattr(Wire, "send", sent)
    with ours:
        ours.settimeout(10)
        ours.sendall(POST)
        connection.run()
    assert answers == [b"keep-alive", b"close"]


def test_requests_one_after_the_other_on_one_connection() -> None:
    both = exchange(POST + POST)
    assert both.count(b"HTTP/1.1 200 ") == both.count(b"[[2,4]]") == 2
    cut = [POST[i : i + 1] for i in range(len(POST))]
    assert exchange(*cut).endswith(b"\r\n\r\n[[2,4]]")
    assert exchange(b"\r\n" + POST).endswith(b"[[2,4]]")
    last = POST.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert exchange(last + POST).count(b"HTTP/1.1") == 1
    old = POST.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: x\r\n", b"")
    assert exchange(old + POST).count(b"HTTP/1.1") == 1
    assert exchange() == b""


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_in_chunks() -> None:
    body = b"4;name=value\r\n[[1,\r\n3\r\n2]]\r\n0\r\nTrailer: x\r\n\r\n"
    assert exchange(CHUNKED + body + POST).count(b"[[2,4]]") == 2
    assert exchange(CHUNKED, *([b"1\r\n1\r\n"] * 2000)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\r\n\r\n",
        b"POST /\r\n\r\n",
        b"POST / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +7\r\n\r\n" + BODY,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n" + BODY,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 7\r\n\r\n" + BODY,
        b"POST / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" + BODY,
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNKED.replace(b"Host: x", b"Host: x\r\nContent-Length: 7") + b"0\r\n\r\n",
        CHUNKED + b"0x7\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED + b"-7\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED + b"6\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED + b"7\r\n" + BODY + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
        POST[:20],
    ],
)
def test_what_is_no_request_is_a_400_and_the_last(request_: bytes) -> None:
    answer = exchange(request_ + POST if request_.endswith(b"\r\n\r\n") else request_)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 4") == 1
    assert b"connection: close" in answer
    assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["error"]


PIECES = st.binary(max_size=80) | st.sampled_from([POST, CHUNKED, b"\r\n", b"0"])


@given(st.lists(PIECES, max_size=5))
def test_no_bytes_at_all_are_a_500(pieces: list[bytes]) -> None:
    answer = exchange(*pieces)
    assert not answer or answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 4"))


SAID_BY_BOTH = (
    "content-type",
    "content-length",
    "lamda-address",
    "x-content-type-options",
    "allow",
)


def test_the_early_answers_are_those_of_uvicorn() -> None:
    handler = doubling(max_bytes=1000)
    requests = [
        httpx.Request(method, f"http://x{path}", headers=headers, content=body)
        for method, path, headers, body in [
            ("POST", "/", {}, BODY),
            ("POST", "/?x=1", {"accept": "application/msgpack"}, BODY),
            ("POST", "/", {"content-type": "text/html"}, BODY),
            ("POST", "/", {}, b"[[1"),
            ("POST", "/", {}, b"1" * 1001),
            ("PUT", "/", {}, b""),
            ("GET", "/", {}, b""),
            ("HEAD", "/", {}, b""),
            ("GET", "/%68ealthz", {}, b""),
            ("GET", "/no%20thing", {}, b""),
        ]
    ]
    server = uvicorn.Server(uvicorn.Config(make_app(handler), log_config=None, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            port = bound.getsockname()[1]
            theirs = [
                httpx.request(r.method, r.url.copy_with(host="127.0.0.1", port=port),
                              headers=r.headers, content=r.content)
                for r in requests
            ]  # fmt: skip
        finally:
            server.should_exit = True
            thread.join(10)
    for request, expected in zip(requests, theirs, strict=True):
        head = [f"{request.method} {request.url.raw_path.decode()} HTTP/1.1".encode()]
        head += [name + b": " + value for name, value in request.headers.raw]
        status, _, rest = exchange(b"\r\n".join([*head, b"", request.content])).partition(b"\r\n")
        fields, _, body = rest.partition(b"\r\n\r\n")
        headers = httpx.Headers([tuple(line.split(b": ")) for line in fields.split(b"\r\n")])
        assert int(status.split()[1]) == expected.status_code
        assert body == expected.content
        for name in SAID_BY_BOTH:
            assert headers.get(name) == expected.headers.get(name), (request, name)


# Streams

STREAM = CHUNKED.replace(b"POST /", b"POST /stream")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_a_stream_is_answered_as_it_comes() -> None:
    sent = [lines({"xs": [[number, 2]]}) for number in range(3)]
    *answers, last = scanning().stream(b"".join(sent))
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=Connection(theirs, scanning()).run)
    thread.start()
    with ours:
        ours.settimeout(10)
        ours.sendall(STREAM)
        heard = b""
        for line, answer in zip(sent, answers, strict=True):
            ours.sendall(chunk(line))
            while not heard.endswith(chunk(answer)):  # before the next line is sent
                heard += ours.recv(65536)
        ours.sendall(chunk(b""))
        while part := ours.recv(65536):
            heard += part
    thread.join(10)
    assert not thread.is_alive()
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert heard.endswith(chunk(last) + chunk(b""))


def test_a_stream_that_goes_wrong_says_so_where_it_does() -> None:
    line = lines({"xs": [[1, 2]]})
    assert exchange(STREAM + chunk(line) + chunk(b"")).startswith(b"HTTP/1.1 404 ")
    wrong = exchange(STREAM + chunk(b"[\n") + chunk(b""), of=scanning())
    assert wrong.startswith(b"HTTP/1.1 400 ")
    late = exchange(STREAM + chunk(line) + chunk(b"[\n") + chunk(b""), of=scanning())
    assert late.startswith(b"HTTP/1.1 200 ")
    assert late.endswith(b"\r\n0\r\n\r\n")
    assert b'{"error":"line 2' in late.replace(b'": "', b'":"')
    torn = exchange(STREAM + chunk(line) + b"zz\r\n", of=scanning())
    assert b"expected the length of a chunk in hexadecimal" in torn
    old = exchange(b"POST /stream HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(line) + line,
                   of=scanning())  # fmt: skip
    assert old.partition(b"\r\n\r\n")[2] == b"".join(scanning().stream(line))
    slow = exchange(STREAM + chunk(line) + chunk(b""), of=scanning(max_seconds=-1))
    assert slow.startswith(b"HTTP/1.1 408 ")


NAMED = b"Host: x\r\nX-Request-Id: mine\r\ntraceparent: 00-%b-%b-01\r\n" % (b"a" * 32, b"b" * 16)


@pytest.mark.parametrize(
    ("request_", "counted"),
    [(POST, ("/", "POST", 200)), (POST.replace(b": 7", b": 7000"), ("/", "POST", 413)),
     (b"PUT / HTTP/9\r\nHost: x\r\n\r\n", ("other", "other", 400)),
     (STREAM + chunk(lines({"xs": [[1, 2]]})) + chunk(b""), ("/stream", "POST", 200)),
     (STREAM + chunk(lines({"xs": [[1, 2]]}) + b"[\n") + chunk(b""), ("/stream", "POST", 200)),
     (STREAM + chunk(b"[\n") + chunk(b""), ("/stream", "POST", 400))],
)  # fmt: skip
def test_every_answer_is_named_and_counted(
    request_: bytes, counted: tuple[str, str, int], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("LAMDA_LOG", "json")
    handler = scanning() if b"/stream" in request_ else doubling(max_bytes=1000)
    answer = exchange(request_.replace(b"Host: x\r\n", NAMED), of=handler)
    assert b"x-request-id: mine\r\n" in answer and b"traceparent: 00-aaaa" in answer
    assert list(handler.watch.rows) == [counted]
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(each["id"], each["trace"], each["status"]) for each in told] == [
        ("mine", "a" * 32, counted[-1])
    ]
    assert b"x-request-id: " in exchange(request_, of=handler)  # it is given one


def test_what_is_no_request_is_named_too() -> None:
    assert b"x-request-id: " in exchange(b"nonsense\r\n\r\n")
    assert b"x-request-id: " in exchange(b"GET / HTTP/1.1\r\nno header\r\n\r\n")


def test_what_is_accepted_does_not_wait_to_be_acknowledged() -> None:
    from serve.http.server import _listen

    with _listen("127.0.0.1", 0) as bound, socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
