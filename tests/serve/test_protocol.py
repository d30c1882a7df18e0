"""The short way of `python -m serve`: the same answers, and none that is lost at the end."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import doubling

from serve.handler import Handler
from serve.http.asgi import make_app
from serve.http.protocol import protocol
from serve.watch import STEADY

SILENCE = 0.5  # seconds after which no more is expected
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n[[1,2]]"


class Running:
    """A server in a thread."""

    def __init__(self, function: Handler, keep: int = 5) -> None:
        config = uvicorn.Config(
            make_app(function),
            http=protocol(function),
            log_config=None,
            log_level="critical",
            ws="none",
            lifespan="off",
            timeout_keep_alive=keep,
            timeout_graceful_shutdown=5,
        )
        self.server = uvicorn.Server(config)
        self.bound = socket.create_server(("127.0.0.1", 0))
        self.place = self.bound.getsockname()
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.bound]})
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.bound.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.place, timeout=10)


def quick() -> Handler:
    """A handler that is known to be quick at every size."""
    function = doubling(max_bytes=1000)
    for size in range(20):
        for route in ("/", "/v2"):
            function.watch._quick[route, size] = STEADY
    return function


@contextlib.contextmanager
def running(function: Handler, **more: int) -> Iterator[Running]:
    made = Running(function, **more)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Running, Running]]:
    """One that takes the short way where it can, and one that never does."""
    with running(quick()) as short, running(slow()) as long:
        yield short, long


def slow() -> Handler:
    function = doubling(max_bytes=1000)
    for size in range(20):
        function.watch._quick["/", size] = -(10**9)
    return function


def told(server: Running, *packets: bytes, wait: float = 0.05) -> list[tuple[bytes, bytes]]:
    """The status and body of all answers to the packets, sent one after the other."""
    answer = b""
    with server.connect() as peer:
        for packet in packets:
            peer.sendall(packet)
            time.sleep(wait if len(packets) > 1 else 0)
        peer.settimeout(SILENCE)
        with contextlib.suppress(OSError):
            while data := peer.recv(65536):
                answer += data
    return answers(answer)


def answers(stream: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    while stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        size = int(length[1]) if length else 0
        found.append((head.split(b" ")[1], rest[:size]))
        stream = rest[size:]
    return found


WHOLE = [
    POST,
    POST.replace(b"Host: x", b"Host: x\r\nConnection: keep-alive"),
    POST.replace(b"[[1,2]]", b"[[1,2]["),
    POST.replace(b"Host: x", b"Host: x\r\nContent-Type: text/html"),
    POST.replace(b"POST /", b"POST /nothing"),
    POST.replace(b"POST /", b"POST /v2"),
    POST.replace(b"Host: x", b"Host: x\r\nConnection: close"),
    POST.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"),
    POST.replace(b"Host: x", b"Host: x\r\nTransfer-Encoding: chunked"),
    POST.replace(b"Host: x", b"Host: x\r\nContent-Length: 7"),
    POST.replace(b"Host: x", b"Host: x\r\nContent-Length: 6"),
    POST.replace(b"Host: x", b"Host: x\r\nX: a\r\n b"),
    POST.replace(b"Host: x", b"Host : x"),
    POST.replace(b"Host: x", b"X: y"),
    POST.replace(b"1.1", b"1.0"),
    POST.replace(b": 7", b": 07"),
    POST.replace(b": 7", b": +7"),
    POST.replace(b"\r\n", b"\n"),
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("request_", WHOLE)
def test_both_ways_answer_alike(both: tuple[Running, Running], request_: bytes) -> None:
    short, long = both
    assert told(short, request_) == told(long, request_)


@pytest.mark.parametrize(
    "packets",
    [
        (POST[:20], POST[20:]),
        (POST[:-3], POST[-3:]),
        (POST + POST,),
        (POST + POST[:30], POST[30:] + POST),
        (POST, POST[:-1], POST[-1:], POST),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", POST, POST),
    ],
)
def test_requests_may_be_cut_anywhere_and_follow_each_other(
    both: tuple[Running, Running], packets: tuple[bytes, ...]
) -> None:
    wanted = b"".join(packets).count(b"POST")
    for server in both:
        found = [answer for answer in told(server, *packets) if answer[1] == b"[[2,4]]"]
        assert found == [(b"200", b"[[2,4]]")] * wanted


@settings(max_examples=20)
@given(st.integers(0, len(POST)), st.integers(0, len(POST)), st.binary(max_size=4))
def test_a_broken_request_is_broken_either_way(
    both: tuple[Running, Running], start: int, stop: int, data: bytes
) -> None:
    request = POST[: min(start, stop)] + data + POST[max(start, stop) :]
    short, long = (
        [status for status, _ in told(server, request) if status != b"100"] for server in both
    )
    assert short == long
    assert not {b"500"} & set(short)


def test_a_head_of_many_spaces_takes_no_time(both: tuple[Running, Running]) -> None:
    head = b"POST / HTTP/1.1\r\n" + (b"a: " + b" " * 30 + b"\r\n") * 60 + b"\x00\r\n\r\n"
    began = time.monotonic()
    assert told(both[0], head)[0][0] == b"400"
    assert time.monotonic() - began < 5


def test_the_short_way_has_all_headers(both: tuple[Running, Running]) -> None:
    heads = []
    for server in both:
        with server.connect() as peer:
            peer.sendall(POST.replace(b"Host: x", b"Host: x\r\nX-Request-Id: a-1"))
            heads.append(peer.recv(65536).partition(b"\r\n\r\n")[0].lower())
    names = [sorted(line.partition(b":")[0] for line in head.split(b"\r\n")) for head in heads]
    assert names[0] == names[1]
    assert b"x-request-id: a-1" in heads[0]


def test_a_connection_that_is_silent_is_hung_up_on() -> None:
    with running(quick(), keep=1) as server, server.connect() as peer:
        get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        for request in (POST, POST, POST, get, POST, POST, POST):
            peer.sendall(request)
            answer = piece = peer.recv(65536)
            while piece and not answer.endswith((b"[[2,4]]", b"}")):
                answer += (piece := peer.recv(65536))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            time.sleep(0.6)  # longer than a second together: each answer starts the time anew
        began = time.monotonic()
        assert peer.recv(1) == b""
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("make", [quick, slow])
def test_no_request_is_lost_at_the_end(make: object) -> None:
    """Clients that keep their connections ask until they are told that it was the last answer."""
    server = Running(make())  # type: ignore[operator]
    lost: list[str] = []
    count = [0]

    def ask() -> None:
        with server.connect() as peer:
            while True:
                try:
                    peer.sendall(POST)
                    answer = piece = peer.recv(65536)
                    while piece and not answer.endswith(b"[[2,4]]"):  # the head comes alone
                        answer += (piece := peer.recv(65536))
                except OSError as error:
                    lost.append(repr(error))
                    return
                if not answer.endswith(b"[[2,4]]"):
                    lost.append(repr(answer))
                    return
                count[0] += 1
                if b"connection: close" in answer.lower():
                    return

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    server.stop()
    for thread in threads:
        thread.join(10)
    assert lost == []
    assert count[0] > 8
