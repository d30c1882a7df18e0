"""Answers that are streamed: as Amazon's emulator takes them, and as they go over the wire."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import rie
import streams
from memory import ADDRESS, doubling
from test_aws import HERE, NEXT, event, function, http

from serve.aws.streaming import pieces

LOOP = """
import sys
sys.path.insert(0, {here!r})
from memory import doubling
from streams import scanning
from serve.aws import run
run({load})
"""
SCAN, DOUBLE = (LOOP.format(here=HERE, load=load) for load in ("scanning", "doubling"))
LINES = '{"xs": [[1, 2]]}\n{"xs": [[3, 4], [5, 6]]}\n'
ANSWERS = b'{"ys":[2]}\n{"ys":[14,44]}\n{"state":[3,44]}\n'


def split(answer: bytes) -> tuple[dict[str, Any], bytes]:
    """The status and headers, and the body, of a streamed answer."""
    prelude, _, body = answer.partition(bytes(8))
    return json.loads(prelude), body


def test_a_stream_and_what_is_wrong_with_one() -> None:
    asked = http(LINES, path="/stream")
    prelude, body = split(b"".join(pieces(streams.scanning(), asked)))
    assert (prelude["statusCode"], body) == (200, ANSWERS)
    assert prelude["headers"]["content-type"] == "application/x-ndjson"
    assert prelude["headers"]["lamda-address"] == ADDRESS
    later = http(LINES + "[]\n", path="/stream")
    prelude, body = split(b"".join(pieces(streams.scanning(), later)))
    assert prelude["statusCode"] == 200
    assert body.startswith(ANSWERS[:26])
    assert b'{"error":"line 3: expected an object' in body
    prelude, body = split(b"".join(pieces(streams.scanning(), http("[]\n", path="/stream"))))
    assert prelude["statusCode"] == 400
    assert json.loads(body)["error"].startswith("line 1: expected an object")
    prelude, _ = split(b"".join(pieces(doubling(), asked)))
    assert prelude["statusCode"] == 404


def test_a_fault_before_the_first_answer_ends_in_a_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It ended the loop, and with it the instance."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a secret")

    asked = http(LINES, path="/stream", headers={"x-request-id": "7"})
    prelude, body = split(b"".join(pieces(streams.scanning(broken), asked)))
    assert prelude["statusCode"] == 500
    assert json.loads(body)["error"].startswith("internal error, request ")
    assert "a secret" in capsys.readouterr().err
    prelude, _ = split(b"".join(pieces(streams.scanning(), asked)))
    assert prelude["headers"]["x-request-id"] == "7"


@pytest.mark.parametrize(("method", "body"), [("GET", b'{"status": "ok"}'), ("HEAD", b"")])
def test_every_other_answer_is_one_piece(method: str, body: bytes) -> None:
    prelude, found = split(b"".join(pieces(doubling(), http(None, method, "/healthz"))))
    assert (prelude["statusCode"], found) == (200, body)
    prelude, found = split(b"".join(pieces(doubling(), http("[[1,2]]", isBase64Encoded=True))))
    assert (prelude["statusCode"], b"base64" in found) == (400, True)


def test_the_emulator_takes_a_stream() -> None:
    asked = json.dumps(http(LINES, path="/stream")).encode()
    with rie.running(sys.executable, "-c", SCAN, LAMDA_STREAMING="1") as scan:
        for _ in range(3):
            prelude, body = split(scan(asked))
            assert (prelude["statusCode"], body) == (200, ANSWERS)
        assert json.loads(scan(b"[[0, 0], [[1, 2]]]")) == [[1, 2], [2]]  # no HTTP: as it was


def test_each_line_is_sent_when_it_is_there() -> None:
    with function("-c", SCAN, LAMDA_STREAMING="1") as (api, _):
        assert api.asked() == (NEXT, b"")
        api.say(event(json.dumps(http(LINES, path="/stream")).encode()))
        first, api.peer = api.peer, api.server.accept()[0]
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += api.peer.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /2018-06-01/runtime/invocation/7/response HTTP/1.1"
        assert "Lambda-Runtime-Function-Response-Mode: streaming" in lines
        assert "Content-Type: application/vnd.awslambda.http-integration-response" in lines
        sizes = [line for line in body.split(b"\r\n") if line and len(line) < 4]
        assert len(sizes) == 5  # the prelude, three answers, the end
        api.hang_up()  # Lambda gave it up: that is told, and the loop goes on
        api.peer = first
        assert api.asked() == (NEXT, b"")
