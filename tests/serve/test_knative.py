"""Knative and OpenFaaS: on sockets, with func-python, and with the package cloudevents."""

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
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import campaign
import httpx
import make
import numpy as np
import pytest
import tools
from memory import ADDRESS, doubling, forgetful

import serve.http
import serve.knative
from serve import cloudevents
from serve.body.forms import MSGPACK, NPY
from serve.errors import BundleError

if TYPE_CHECKING:
    from serve.handler import Handler
    from serve.http.asgi import App

FORM = "application/cloudevents+json"
CE = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "/here", "ce-type": "some.type"}
EVENT = {key.removeprefix("ce-"): value for key, value in CE.items()}

FUNC = """
from func_python.http import serve
from serve.knative import new
serve(new)
"""


class Running(NamedTuple):
    """A container of Knative."""

    client: httpx.Client
    process: subprocess.Popen[bytes]
    port: int
    log: Path


@contextlib.contextmanager
def container(directory: str, *command: str, **more: str) -> Iterator[Running]:
    """`python COMMAND` that listens at $PORT."""
    with tempfile.TemporaryDirectory() as folder:
        log, port = Path(folder) / "log", tools.free_port()
        path = more.pop("PYTHONPATH", make.ROOT)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command], stdout=output, stderr=output,
                env={**os.environ, "PYTHONPATH": path, "LAMDA_BUNDLE": directory,
                     "PORT": str(port), "LISTEN_ADDRESS": f"127.0.0.1:{port}", **more},
            )  # fmt: skip
        try:
            tools._await(port, process, log)
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", timeout=60, limits=campaign.ONCE
            ) as client:
                yield Running(client, process, port, log)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make.add_one(tmp_path_factory.mktemp("knative") / "bundle")


@pytest.fixture(scope="module")
def own(bundle: str) -> Iterator[Running]:
    with container(bundle, "-m", "serve.knative", bundle) as running:
        yield running


@pytest.fixture(scope="module")
def func(bundle: str) -> Iterator[Running]:
    path = f"{make.ROOT}:{tools.package('func-python', '0.8.1')}"
    with container(bundle, "-c", FUNC, PYTHONPATH=path) as running:
        yield running


@pytest.fixture(params=["own", "func"])
def running(request: pytest.FixtureRequest) -> Running:
    return request.getfixturevalue(request.param)


def test_http_is_answered_as_http(running: Running) -> None:
    client = running.client
    assert client.post("/", content=b"[[1,2,3]]").json() == [[2, 3, 4]]
    assert client.get("/").json()["name"] == "add_one"
    assert client.get("/healthz").status_code == 200
    assert client.post("/", content=b"[[1]]").status_code == 400
    assert client.get("/none").status_code == 404


def test_a_binary_event_is_answered_by_a_binary_event(running: Running) -> None:
    headers = {**CE, "content-type": "application/json", "ce-subject": "s"}
    answer = running.client.post("/", content=b"[[1,2,3]]", headers=headers)
    assert (answer.status_code, answer.json()) == (200, [[2, 3, 4]])
    address = answer.headers["lamda-address"]
    told = {k: v for k, v in answer.headers.items() if k.startswith("ce-")}
    assert len(told.pop("ce-id")) == 32
    assert told == {
        "ce-specversion": "1.0", "ce-source": f"urn:lamda:{address}", "ce-type": "lamda.answer",
        "ce-subject": "s",
    }  # fmt: skip
    again = running.client.post("/", content=b"[[1,2,3]]", headers=headers)
    assert again.headers["ce-id"] == answer.headers["ce-id"]  # delivered twice, answered once
    npy = running.client.post("/", content=b"[[1,2,3]]", headers={**headers, "accept": NPY})
    assert np.frombuffer(npy.content[-12:], "<f4").tolist() == [2, 3, 4]


def test_a_structured_event_is_answered_by_a_structured_event(running: Running) -> None:
    answer = running.client.post(
        "/", json={**EVENT, "subject": "ü", "data": [[1, 2, 3]]}, headers={"content-type": FORM}
    )
    assert answer.headers["content-type"] == FORM
    found = answer.json()
    assert (found["data"], found["datacontenttype"]) == ([[2, 3, 4]], "application/json")
    assert (found["subject"], found["type"]) == ("ü", "lamda.answer")


def test_the_package_cloudevents_reads_the_answers(own: Running) -> None:
    script = """
import json, sys
from cloudevents.http import CloudEvent, from_http, to_binary, to_structured
import urllib.request
url = sys.argv[1]
asked = CloudEvent({"id": "7", "source": "/here", "type": "t"}, [[1, 2, 3]])
for form in (to_binary, to_structured):
    headers, body = form(asked)
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request) as response:
        event = from_http(dict(response.headers), response.read())
    print(json.dumps([event["type"], event.data]))
"""
    # The framework of Google brings the package in the version that most clients have.
    path = f"{tools.package('functions-framework', '3.10.2')}"
    url = str(own.client.base_url)
    done = subprocess.run(
        [sys.executable, "-c", script, url], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == '["lamda.answer", [[2, 3, 4]]]\n' * 2, done.stderr


WRONG = [
    ({**EVENT, "specversion": "0.3"}, "expected an event with specversion 1.0, got \"0.3\""),
    ({**EVENT, "id": ""}, 'expected an event with "id", a text that is not empty'),
    ({**EVENT, "subject": {}}, '"subject": expected a text as attribute of the event, got an object with no keys'),  # noqa: E501
    ([1], "expected an event, an object, got a list of 1"),
    ({**EVENT, "data_base64": 7}, 'expected base64 in "data_base64" of the event'),
    ({**EVENT, "data": 7, "datacontenttype": "text/plain"}, 'expected a text in "data" of the event, as datacontenttype is "text/plain", got 7'),  # noqa: E501
    ({**EVENT}, "the request is empty: expected float32[b, 2], such as [[1.0, 2.0]]"),
    ({**EVENT, "data": [[1]]}, "input[0]: expected a list of 2 for float32[b, 2], got a list of 1"),
]  # fmt: skip


def respond(headers: dict[str, str], body: bytes, method: str = "POST") -> Any:
    return cloudevents.respond(doubling(), method, "/", headers, body)


@pytest.mark.parametrize(("event", "message"), WRONG)
def test_a_wrong_event_is_a_4xx_that_says_why(event: Any, message: str) -> None:
    status, headers, body = respond({"content-type": FORM}, json.dumps(event).encode())
    assert (status, json.loads(body)) == (400, {"error": message})
    assert not any(name.startswith("ce-") for name in headers)


def test_other_events() -> None:
    status, _, body = respond({"content-type": f"{FORM[:-5]}-batch+json"}, b"[]")
    assert (status, json.loads(body)["error"]) == (
        415, f'expected an event as {FORM}, got "application/cloudevents-batch+json"'
    )  # fmt: skip
    assert respond({"ce-specversion": "1.0"}, b"[[1,2]]")[0] == 400  # no id
    assert respond(CE, b"", "GET")[0] == 200
    text = {**EVENT, "data": "[[1,2]]", "datacontenttype": "application/x-www-form-urlencoded"}
    assert json.loads(respond({"content-type": FORM}, json.dumps(text).encode())[2])["data"] == [
        [2, 4]
    ]
    import base64

    npy = respond({"accept": NPY}, b"[[0.5,1]]")[2]
    packed = {**EVENT, "data_base64": base64.b64encode(npy).decode(), "datacontenttype": NPY}
    _, headers, body = respond({"content-type": FORM}, json.dumps(packed).encode())
    found = json.loads(body)
    assert (headers["content-type"], found["datacontenttype"]) == (FORM, NPY)
    assert np.frombuffer(base64.b64decode(found["data_base64"])[-8:], "<f4").tolist() == [2, 4]
    assert headers["content-length"] == str(len(body))
    assert headers["lamda-address"] == ADDRESS


def test_a_structured_answer_is_not_compressed_inside() -> None:
    asked = {"content-type": FORM, "accept-encoding": "gzip", "content-encoding": "identity"}
    event = {**EVENT, "data": [[1, 2]] * 2000}
    found = json.loads(respond(asked, json.dumps(event).encode())[2])
    assert found["data"] == [[2, 4]] * 2000


def raw(port: int, *pieces: bytes) -> bytes:
    """What is answered to bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
        for piece in pieces:
            peer.sendall(piece)
        answer = b""
        while True:
            head, _, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if length is not None and len(body) >= int(length[1]):
                return answer
            received = peer.recv(65536)
            if not received:
                return answer
            answer += received


def test_the_watchdog_of_openfaas_sends_chunks(running: Running) -> None:
    """As of-watchdog forwards a request in its mode http: chunked, without Content-Length."""
    head = (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: Go-http-client/1.1\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Type: text/plain\r\n"
        b"X-Call-Id: 5f0a\r\nX-Start-Time: 1\r\nAccept-Encoding: gzip\r\n\r\n"
    ).replace(b"text/plain", b"application/x-www-form-urlencoded")
    answer = raw(running.port, head, b"4\r\n[[1,\r\n", b"5\r\n2,3]]\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n[[2,3,4]]")
    event = head.replace(
        b"X-Call-Id", b"ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /\r\nce-type: t\r\nX-Call-Id"
    )
    answer = raw(running.port, event, b"9\r\n[[1,2,3]]\r\n0\r\n\r\n")
    assert b"lamda.answer" in answer and answer.endswith(b"[[2,3,4]]")


def test_a_body_that_is_too_long_is_refused(own: Running) -> None:
    long = b" " * ((16 << 20) + 1)
    for headers in ({}, {**CE}, {"content-type": FORM}):
        assert own.client.post("/", content=long, headers=headers).status_code == 413


def test_a_refused_event_is_named_and_counted() -> None:
    handler = doubling()
    headers = {"content-type": FORM, "x-request-id": "7"}
    status, told, _ = cloudevents.respond(handler, "POST", "/", headers, b"[1]")
    assert (status, told["x-request-id"]) == (400, "7")
    assert list(handler.watch.rows) == [("/", "POST", 400)]


@pytest.mark.parametrize("make_app", [serve.knative.with_events, serve.http.asgi.make_app])
def test_a_body_that_does_not_begin_is_given_up(make_app: Callable[[Handler], App]) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(30)
        raise AssertionError("it waited for longer than it may")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/",
             "headers": [(k.encode(), v.encode()) for k, v in CE.items()]}  # fmt: skip
    asyncio.run(make_app(doubling(max_seconds=0.1))(scope, receive, send))
    assert sent[0]["status"] == 504


def test_health_of_func(func: Running) -> None:
    for path in ("/health/liveness", "/health/readiness"):
        answer = func.client.get(path)
        assert (answer.status_code, answer.text) == (200, "OK")


@pytest.mark.parametrize("command", [("-m", "serve.knative"), ("-c", FUNC)])
def test_what_is_under_way_is_finished_at_sigterm(bundle: str, command: tuple[str, str]) -> None:
    path = make.ROOT
    if command[0] == "-c":
        path += f":{tools.package('func-python', '0.8.1')}"
    with container(bundle, *command, PYTHONPATH=path) as running:
        got: list[bytes] = []
        with socket.create_connection(("127.0.0.1", running.port), timeout=30) as peer:
            peer.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[[1,")
            assert running.client.get("/healthz").status_code == 200  # the first has arrived
            running.process.send_signal(signal.SIGTERM)
            thread = threading.Thread(target=lambda: got.append(peer.recv(65536)))
            thread.start()
            peer.sendall(b"2,3]]")
            thread.join(30)
        assert got and got[0].startswith(b"HTTP/1.1 200"), running.log.read_text()
        assert running.process.wait(30) == 0


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [("PORT", "8080", "manifest.json"), ("PORT", "http", "is the number of a port, got 'http'"),
     ("PORT", "80800", "got '80800'"), ("LAMDA_DRAIN", "soon", "LAMDA_DRAIN")],
)  # fmt: skip
def test_what_can_not_be_served_is_one_line(
    tmp_path: Path, variable: str, value: str, expected: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serve.knative", str(tmp_path)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": make.ROOT, variable: value}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("serve: ") and done.stderr.count("\n") == 1
    assert expected in done.stderr


def test_the_app_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMDA_BUNDLE", raising=False)
    with pytest.raises(BundleError, match="LAMDA_BUNDLE is not set"):
        serve.knative.app
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        serve.knative.other


@pytest.mark.parametrize("running", ["own"], indirect=True)
def test_broken_requests(running: Running) -> None:
    def ask(request: campaign.Request) -> int:
        method, path, headers, body = request
        return running.client.request(method, path, headers=headers, content=body).status_code

    def valid() -> None:
        event = {**EVENT, "data": [[1, 2, 3]]}
        answer = running.client.post("/", json=event, headers={"content-type": FORM})
        assert answer.json()["data"] == [[2, 3, 4]]

    campaign.run(ask, valid, campaign.Process(running.process.pid))


def answering() -> Callable[..., Any]:
    return partial(cloudevents.respond, forgetful(doubling(max_bytes=1000)))


def test_broken_events() -> None:
    with campaign.Apart(answering) as respond:

        def ask(request: campaign.Request) -> int:
            return respond(*request)[0]

        def valid() -> None:
            headers = {**CE, "content-type": MSGPACK, "accept": "application/json"}
            assert respond("POST", "/", headers, b"\x91\x92\x01\x02")[2] == b"[[2,4]]"

        campaign.run(ask, valid, respond)
