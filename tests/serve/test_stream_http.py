"""Streams over HTTP: through sockets, both ways at once, and with clients that do not behave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from memory import ADDRESS, doubling
from streams import iterating, lines, said, scanning, total
from test_http import serving

import serve.http
from serve.body.forms import MSGPACK
from serve.stream.frames import NDJSON

HEAD = b"POST /stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Peer:
    """A client that says and hears bytes as it likes."""

    def __init__(self, url: str, buffer: int | None = None) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(10)
        self.socket.connect((host, int(port)))
        self.heard = b""

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self, until: bytes) -> bytes:
        """All up to the first `until`; the rest is for later."""
        while until not in self.heard:
            received = self.socket.recv(65536)
            assert received, f"the server hung up after {self.heard!r}"
            self.heard += received
        found, _, self.heard = self.heard.partition(until)
        return found + until


@contextlib.contextmanager
def peer(url: str, **more: Any) -> Iterator[Peer]:
    made = Peer(url, **more)
    with made.socket:
        yield made


def settled(calls: list[int]) -> int:
    """The number of calls once there are no more."""
    before = -1
    while before != len(calls):
        before = len(calls)
        time.sleep(0.3)
    return before


def test_an_answer_comes_before_the_next_line_is_sent() -> None:
    with serving(scanning()) as url, peer(url) as client:
        client.say(HEAD)
        for number in range(3):
            line = lines({"xs": [[number, 2]]})
            client.say(chunk(line[:7]) + chunk(line[7:]))
            heard = client.hear(b"}\n")
            if number == 0:
                assert heard.startswith(b"HTTP/1.1 200 OK\r\n")
                assert b"content-type: application/x-ndjson\r\n" in heard
                assert f"lamda-address: {ADDRESS}\r\n".encode() in heard
            assert heard.endswith(b'{"ys":[%d]}\n' % (number * (number + 1)))
        client.say(END)
        assert client.hear(END).endswith(chunk(b'{"state":[3,6]}\n') + END)


def test_the_whole_request_at_once() -> None:
    handler = scanning()
    body = lines({"state": [0, 1]}, {"xs": [[1, 2]]}, {"xs": [[3, 4], [5, 6]]})
    with serving(handler) as url:
        response = httpx.post(url + "/stream", content=body)
        assert response.headers["content-type"] == NDJSON
        assert response.headers["transfer-encoding"] == "chunked"
        assert said(response.content) == [{"ys": [3]}, {"ys": [15, 45]}, {"state": [3, 45]}]
        headers = {"Content-Type": NDJSON, "Accept": MSGPACK}
        assert httpx.post(url + "/stream", content=body, headers=headers).content == b"".join(
            handler.stream(body, NDJSON, MSGPACK)
        )
        told = httpx.get(url).json()["stream"]
        again = httpx.post(url + told["request"]["path"], content=told["request"]["body"])
        assert len(said(again.content)) == 3


def test_a_wrong_line_is_the_last_and_the_state_is_saved() -> None:
    with serving(scanning()) as url:
        body = lines({"xs": [[1, 2]]}, {"xs": [[3, 4]]}, {"xs": 5}, {"xs": [[6, 7]]})
        response = httpx.post(url + "/stream", content=body)
        assert response.status_code == 200
        error = 'line 3: input["xs"]: expected a list, as float32[n, 2] is a list of lists of '
        assert said(response.content) == [
            {"ys": [2]},
            {"ys": [14]},
            {"state": [2, 14]},
            {"error": error + "numbers, got 5"},
        ]


def test_what_is_wrong_before_the_first_answer_has_a_status() -> None:
    with serving(scanning(max_bytes=100)) as url, httpx.Client(base_url=url) as client:
        for content, headers, status, text in (
            (b"[1]", {}, 400, "line 1: expected an object"),
            (b"", {}, 400, "the request ends before it says anything"),
            (b" " * 101, {}, 413, "line 1: expected at most 100 bytes"),
            (b"{}", {"Content-Type": "text/plain"}, 415, "expected the content type"),
            (b"{}", {"Accept": "text/html"}, 406, "expected Accept to name"),
        ):
            response = client.post("/stream", content=content, headers=headers)
            assert response.status_code == status
            assert response.json()["error"].startswith(text)
        for method in ("GET", "PUT"):
            response = client.request(method, "/stream")
            assert (response.status_code, response.headers["allow"]) == (405, "POST")
    with serving(doubling()) as url:
        assert httpx.post(url + "/stream", content=b"{}").status_code == 404


def test_a_client_that_leaves_ends_an_iteration(capfd: pytest.CaptureFixture[str]) -> None:
    handler = iterating(lambda x: x + 1, lambda x: (time.sleep(0.01), False)[1])
    with serving(handler) as url:
        with peer(url) as client:
            client.say(HEAD + chunk(b'{"state": 0}') + END)
            client.hear(b'{"state":3}\n')
        assert settled(handler.engine.calls) < 200
        assert httpx.get(url + "/healthz").json() == {"status": "ok"}
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_leaves_ends_a_scan(capfd: pytest.CaptureFixture[str]) -> None:
    handler = scanning()
    with serving(handler) as url:
        with peer(url) as client:
            client.say(HEAD + chunk(lines({"xs": [[1, 1]]})))
            client.hear(b'{"ys":[1]}\n')
        for rest in (b'{"xs": ', b'{"xs": [[1, 1]]}'):  # in the middle of a line, or of a request
            with peer(url) as client:
                client.say(HEAD + chunk(rest))
        assert settled(handler.engine.calls) == 1
        assert httpx.post(url + "/stream", content=lines({"xs": [[1, 1]]})).is_success
    assert capfd.readouterr().err == ""


def test_a_client_that_does_not_read_is_waited_for() -> None:
    handler = iterating(lambda x: x + 1, lambda x: False, shape=(1000,))
    with serving(handler) as url, peer(url, buffer=4096) as client:
        client.say(HEAD + chunk(json.dumps({"state": [0] * 1000}).encode()) + END)
        client.hear(b"\r\n\r\n")
        waiting = settled(handler.engine.calls)
        # Each answer is some 3 KB, and what lies in the sockets' buffers a few MB at most.
        assert waiting < 6000
        for _ in range(50):
            client.hear(b"}\n")
        client.hear(b'{"state":[%d,' % (waiting // 2 + 1))  # it goes on
    assert settled(handler.engine.calls) < 20_000


def test_a_stream_has_a_time_limit() -> None:
    with serving(scanning(max_seconds=0.5)) as url:
        text = "expected the stream to end within 0.5 s: go on from the state in another request"
        with peer(url) as client:
            client.say(HEAD)
            assert b" 408 " in client.hear(b"\r\n")
            assert text.encode() in client.hear(b"}")
        with peer(url) as client:
            client.say(HEAD + chunk(lines({"xs": [[1, 1]]})))
            client.hear(b'{"ys":[1]}\n')
            assert b'{"state":[1,1]}\n' + lines({"error": text})[:-1].replace(
                b'": "', b'":"'
            ) in client.hear(END)


def test_a_client_that_never_reads_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.stream.http.LINGER", 0.2)
    handler = iterating(lambda x: x, lambda x: False, shape=(1000,), max_seconds=1.0)
    with serving(handler) as url, peer(url, buffer=4096) as client:
        client.say(HEAD + chunk(json.dumps({"state": [0.1] * 1000}).encode()) + END)
        client.hear(b"\r\n\r\n")
        time.sleep(1.5)
        heard = b""
        with contextlib.suppress(ConnectionError):
            while received := client.socket.recv(1 << 20):
                heard += received
        assert not heard.endswith(END)  # so that nobody takes it for the whole


def test_a_failure_is_in_the_log_and_its_name_in_the_last_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken(state: np.ndarray, xs: np.ndarray) -> Any:
        if state[0] == 1:
            raise MemoryError("a secret")
        return total(state, xs)

    with serving(scanning(broken)) as url:
        body = lines({"xs": [[1, 1]]}, {"xs": [[2, 2]]})
        headers = {"x-request-id": "mine", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        answer = httpx.post(url + "/stream", content=body, headers=headers)
        assert headers.items() <= answer.headers.items()
        *_, state, error = said(answer.content)
        assert state == {"state": [1, 1]}
        assert error["error"] == "internal error, request mine"
        response = httpx.post(url + "/stream", content=lines({"state": [1, 0]}, {"xs": [[1, 1]]}))
        assert response.status_code == 500
    logged = capfd.readouterr().err
    assert "MemoryError: a secret" in logged
    assert error["error"].removeprefix("internal error, ") + " failed:" in logged


def test_health_is_answered_during_a_long_step() -> None:
    started, go = threading.Event(), threading.Event()

    def slow(x: np.ndarray) -> np.ndarray:
        started.set()
        assert go.wait(10)
        return x

    with serving(iterating(slow, n=1)) as url:
        answers: list[bytes] = []

        def ask() -> None:
            answers.append(httpx.post(url + "/stream", content=b'{"state": 1}').content)

        asking = threading.Thread(target=ask)
        asking.start()
        assert started.wait(10)
        assert httpx.get(url + "/healthz").json() == {"status": "ok"}
        go.set()
        asking.join(10)
        assert said(answers[0]) == [{"state": 1}, {"done": True}]


def test_many_streams_at_a_time() -> None:
    with serving(scanning()) as url, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(peer(url)) for _ in range(40)]
        for number, client in enumerate(clients):
            client.say(HEAD + chunk(lines({"xs": [[number, 1]]})))
        for number, client in enumerate(clients):
            assert client.hear(b"}\n").endswith(b'{"ys":[%d]}\n' % number)
        for number, client in enumerate(clients):
            client.say(chunk(lines({"xs": [[number, 1]]})) + END)
            assert client.hear(END).endswith(chunk(b'{"state":[2,%d]}\n' % (2 * number)) + END)


def test_where_bodies_are_whole_the_answer_is_too() -> None:
    handler = scanning()
    body = lines({"xs": [[1, 2]]}, {"xs": [[3, 4]]})
    status, headers, answer = serve.http.respond(handler, "POST", "/stream", {}, body)
    assert (status, headers["content-type"]) == (200, NDJSON)
    assert answer == b"".join(handler.stream(body))
    assert headers["content-length"] == str(len(answer))
    status, _, answer = serve.http.respond(handler, "POST", "/stream", {}, body + b"x")
    assert status == 400
    assert json.loads(answer)["error"].startswith("line 3: the request is not JSON")
    assert serve.http.respond(doubling(), "POST", "/stream", {}, body)[0] == 404


def test_a_server_that_raises_where_nobody_listens() -> None:
    """The ASGI specification, from 2.4 on: send raises OSError after the client has gone."""
    app = serve.http.asgi.make_app(iterating(lambda x: x + 1, lambda x: False))
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b'{"state": 0}', "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.sleep(60)
        return messages.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > 3:
            raise ConnectionResetError("gone")

    scope = {"type": "http", "method": "POST", "path": "/stream", "headers": []}
    asyncio.run(app(scope, receive, send))
    assert len(sent) == 4
