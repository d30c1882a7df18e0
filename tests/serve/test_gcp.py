"""Google Cloud Functions, by Google's own functions-framework."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import campaign
import httpx
import make
import numpy as np
import pytest
import tools

import serve.gcp
from serve.body.forms import NPY
from serve.errors import BundleError

MAIN = "from serve.gcp import {target}\n"
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"


class Running(NamedTuple):
    """A function that functions-framework runs."""

    client: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path


def run(folder: Path, target: str, signature: str) -> Iterator[Running]:
    """`functions-framework --target TARGET`, with a bundle that adds one."""
    root = tools.package("functions-framework", "3.10.2")
    bundle = make.add_one(folder / "bundle")
    (folder / "main.py").write_text(MAIN.format(target=target))
    port, log = tools.free_port(), folder / "log"
    command = [sys.executable, "-m", "functions_framework", "--target", target]
    command += ["--source", str(folder / "main.py"), "--signature-type", signature]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=output, stderr=output,
            env={**os.environ, "PYTHONPATH": f"{make.ROOT}:{root}", "LAMDA_BUNDLE": bundle},
        )  # fmt: skip
    try:
        tools._await(port, process, log)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, limits=campaign.ONCE
        ) as client:
            yield Running(client, process, log)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from run(tmp_path_factory.mktemp("http"), "http", "http")


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from run(tmp_path_factory.mktemp("event"), "event", "cloudevent")


def test_http_is_answered_as_http(http: Running) -> None:
    answer = http.client.post("/", content=b"[[1,2,3]]")
    assert (answer.status_code, answer.content) == (200, b"[[2,3,4]]")
    assert answer.headers["content-type"] == "application/json"
    address = answer.headers["lamda-address"]
    assert answer.headers["x-request-id"]
    binary = http.client.post("/", content=b"[[1,2,3]]", headers={"accept": NPY})
    assert np.frombuffer(binary.content[-12:], "<f4").tolist() == [2, 3, 4]
    again = http.client.post("/", content=binary.content, headers={"content-type": NPY})
    assert np.frombuffer(again.content[-12:], "<f4").tolist() == [3, 4, 5]
    assert http.client.get("/").json()["address"] == address
    assert http.client.get("/healthz").status_code == 200
    assert http.client.get("/none").status_code == 404
    wrong = http.client.post("/", content=b"[[1]]")
    assert (wrong.status_code, wrong.json()) == (
        400, {"error": "input[0]: expected a list of 3 for float32[b, 3], got a list of 1"}
    )  # fmt: skip


def test_a_body_in_chunks_is_read_and_a_long_one_refused(http: Running) -> None:
    pieces = iter([b"[[1,", b"2,3", b"]]"])
    assert http.client.post("/", content=pieces).json() == [[2, 3, 4]]
    long = http.client.post("/", content=b" " * ((16 << 20) + 1))
    assert long.status_code == 413
    named = {"x-request-id": "7"}
    long = http.client.post("/", content=b" " * ((16 << 20) + 1), headers=named)
    assert long.headers["x-request-id"] == "7"
    assert http.client.post("/", content=b"[[1,2,3]]").json() == [[2, 3, 4]]


def test_an_event_is_answered_by_an_event(http: Running) -> None:
    message = {"data": base64.b64encode(b"[[1,2,3]]").decode(), "messageId": "1"}
    envelope = {
        "specversion": "1.0", "id": "7", "source": "//pubsub/projects/p/topics/t",
        "type": PUBLISHED, "data": {"message": message, "subscription": "s"},
    }  # fmt: skip
    form = {"content-type": "application/cloudevents+json"}
    answer = http.client.post("/", json=envelope, headers=form)
    assert answer.headers["content-type"] == form["content-type"]
    assert answer.json()["data"] == [[2, 3, 4]]
    binary = {f"ce-{k}": envelope[k] for k in ("specversion", "id", "source", "type")}
    same = http.client.post("/", json=envelope["data"], headers=binary)
    assert (same.json(), same.headers["ce-id"]) == ([[2, 3, 4]], answer.json()["id"])
    envelope["data"]["message"]["data"] = "?"
    wrong = http.client.post("/", json=envelope, headers=form)
    assert (wrong.status_code, wrong.json()["error"]) == (
        400, 'expected the base64 of a request in "message"."data" of the event, got "?"'
    )  # fmt: skip


def said(running: Running, of: str) -> dict[str, Any]:
    """The line of the log about an event."""
    found = (line for line in running.log.read_text().splitlines() if f'"event": "{of}"' in line)
    return json.loads(next(found))


def test_the_answer_to_an_event_without_one_is_logged(event: Running) -> None:
    ce = {"ce-specversion": "1.0", "ce-source": "/here", "ce-type": "some.type"}
    plain = {**ce, "content-type": "application/json"}
    assert (
        event.client.post("/", content=b"[[1,2,3]]", headers={**plain, "ce-id": "a"}).text == "OK"
    )
    line = said(event, "a")
    assert (line["severity"], line["status"], line["message"]) == (
        "INFO",
        200,
        "event a: [[2,3,4]]",
    )
    # What is wrong stays wrong: it is taken, so that Google does not deliver it again.
    wrong = event.client.post("/", content=b"[[1]]", headers={**plain, "ce-id": "b"})
    assert (wrong.status_code, said(event, "b")["severity"]) == (200, "ERROR")
    message = {"message": {"data": base64.b64encode(b"[[4,5,6]]").decode()}, "subscription": "s"}
    published = {**plain, "ce-id": "c", "ce-type": PUBLISHED}
    event.client.post("/", json=message, headers=published)
    assert said(event, "c")["message"] == "event c: [[5,6,7]]"
    event.client.post("/", json={"message": 1}, headers={**published, "ce-id": "d"})
    assert said(event, "d")["severity"] == "ERROR"
    npy = np.arange(3, dtype="f4").reshape(1, 3)
    data = {"dtype": "float32", "shape": [1, 3], "data": npy.tobytes()}
    packed = make_msgpack(data)
    form = {**ce, "ce-id": "e", "content-type": "application/msgpack"}
    event.client.post("/", content=packed, headers=form)
    assert said(event, "e")["status"] == 200


def make_msgpack(value: Any) -> bytes:
    import msgpack

    return msgpack.packb(value) or b""


def test_answers_are_delivered_where_one_says() -> None:
    from memory import ADDRESS, doubling

    class Event:
        """What functions-framework gives, as far as it is read."""

        def __init__(self, data: Any) -> None:
            self.data = data

        def get_attributes(self) -> dict[str, str]:
            return {"id": "1", "source": "/s", "type": "t", "specversion": "1.0"}

        def get_data(self) -> Any:
            return self.data

    kept: list[Any] = []
    function = serve.gcp.make_event(doubling(), lambda event, response: kept.append(response))
    for data in ([[1, 2]], "[[1,2]]", b"[[1,2]]", None):
        function(Event(data))
    assert [status for status, _, _ in kept] == [200, 200, 200, 400]
    assert {body for _, _, body in kept[:3]} == {b"[[2,4]]"}
    assert kept[0][1]["lamda-address"] == ADDRESS

    def broken(index: int, inputs: Any) -> Any:
        raise ZeroDivisionError

    handler = doubling()
    failing = serve.gcp.make_event(type(handler)(handler.bundle, broken))
    with pytest.raises(RuntimeError, match="internal error, request"):
        failing(Event([[1, 2]]))


def test_the_functions_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMDA_BUNDLE", raising=False)
    with pytest.raises(BundleError, match="LAMDA_BUNDLE is not set"):
        serve.gcp.http
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        serve.gcp.other


def test_broken_requests(http: Running) -> None:
    def ask(request: campaign.Request) -> int:
        method, path, headers, body = request
        return http.client.request(method, path, headers=headers, content=body).status_code

    def valid() -> None:
        assert http.client.post("/", content=b"[[1,2,3]]").json() == [[2, 3, 4]]

    campaign.run(ask, valid, campaign.Process(http.process.pid))
