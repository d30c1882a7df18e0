"""AWS Lambda: events in process, and the runtime loop against Amazon's own emulator."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make
import numpy as np
import pytest
import rie
import tools
from memory import ADDRESS, Bundle, doubling, handler

import serve.aws
from serve.aws import invoke, make_handler
from serve.body.forms import MSGPACK, NPY
from serve.errors import BundleError, RequestError

HERE = str(Path(__file__).parent)


def http(
    body: str | None, method: str = "POST", path: str = "/", stage: str = "$default", **more: Any
) -> dict[str, Any]:
    """An event of API Gateway, format 2.0, as `sam local generate-event` writes it."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {"stage": stage, "http": {"method": method, "path": path}},
        "body": body,
        "isBase64Encoded": False,
    } | more


def test_an_event_that_is_a_request_is_answered_by_the_answer() -> None:
    function = make_handler(doubling())
    assert function([[1, 2], [3, 4]], None) == [[2, 4], [6, 8]]
    with pytest.raises(RequestError) as caught:
        function([[1, "2"]], None)
    assert str(caught.value) == 'input[0][1]: expected a number for float32[b, 2], got "2"'
    with pytest.raises(RequestError, match="NaN is not JSON"):
        function([[1, float("nan")]], None)


def test_an_http_event_is_answered_as_http() -> None:
    function = make_handler(doubling())
    answer = function(http("[[1,2]]"), None)
    assert answer["statusCode"] == 200
    assert (answer["body"], answer["isBase64Encoded"]) == ("[[2,4]]", False)
    assert answer["headers"]["content-type"] == "application/json"
    assert answer["headers"]["lamda-address"] == ADDRESS
    encoded = base64.b64encode(b"[[1,2]]").decode()
    assert function(http(encoded, isBase64Encoded=True), None)["body"] == "[[2,4]]"
    assert function(http("[[1,2]]", headers=None), None)["body"] == "[[2,4]]"
    assert json.loads(function(http(None, "GET"), None)["body"])["address"] == ADDRESS
    staged = http(None, "GET", "/prod/healthz", "prod")
    assert json.loads(function(staged, None)["body"]) == {"status": "ok"}
    assert function(http("[[1,2]]", path="/prod", stage="prod"), None)["body"] == "[[2,4]]"


def test_a_binary_answer_is_base64() -> None:
    function = make_handler(doubling())
    answer = function(http("[[1,2]]", headers={"accept": NPY}), None)
    assert answer["isBase64Encoded"] is True
    npy = base64.b64decode(answer["body"])
    assert np.frombuffer(npy[-8:], "<f4").tolist() == [2, 4]
    again = http(answer["body"], headers={"content-type": NPY}, isBase64Encoded=True)
    assert function(again, None)["headers"]["content-type"] == NPY


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        (http("[[1]]"), 400, "input[0]: expected a list of 2 for float32[b, 2], got a list of 1"),
        (http(None), 400, "the request is empty: expected float32[b, 2], such as [[1.0, 2.0]]"),
        (
            http("[[1,2]]", isBase64Encoded=True),
            400,
            "expected a body in base64, as isBase64Encoded says",
        ),
        (
            http("é", isBase64Encoded=True),
            400,
            "expected a body in base64, as isBase64Encoded says",
        ),
        (http("\ud800"), 400, "the request is not UTF-8: invalid continuation byte"),
        (http("", "PUT"), 405, "no such method here: expected GET or HEAD or POST"),
        (http("", path="/x"), 404, "no such path: expected POST /, GET / or GET /healthz"),
        (http("x", headers={"content-type": "a/b"}), 415, None),
        (http("x", headers={"content-type": MSGPACK}), 400, None),
    ],
)
def test_a_wrong_http_event_is_a_4xx(event: Any, status: int, message: str | None) -> None:
    answer = make_handler(doubling())(event, None)
    assert answer["statusCode"] == status
    error = json.loads(answer["body"])["error"]
    assert error == message if message else error


def test_an_answer_that_lambda_would_not_take_is_refused() -> None:
    one, wide = {"array": ["uint8", []]}, {"array": ["uint8", [4_000_000]]}
    wide_function = handler(Bundle(one, wide), lambda x: [np.full(4_000_000, x)])
    with pytest.raises(RequestError) as caught:
        invoke(wide_function, b"1")
    assert str(caught.value) == (
        "the answer has 8000001 bytes, Lambda takes 6291556: send fewer rows"
    )
    answer = make_handler(wide_function)(http("1"), None)
    assert answer["statusCode"] == 413


def test_the_function_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMDA_BUNDLE", raising=False)
    with pytest.raises(BundleError) as caught:
        serve.aws.handler
    assert str(caught.value) == "LAMDA_BUNDLE is not set: expected the directory of a bundle"
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        serve.aws.other


# The emulator

DOUBLING = f"""
import sys
sys.path.insert(0, {HERE!r})
import numpy as np
from memory import Bundle, doubling, handler
from serve.aws import run

def load():
    made = doubling()
    engine = made.engine

    def sometimes(index, inputs):
        if np.frombuffer(inputs[0], "f4")[0] == 666:
            raise ZeroDivisionError("a bug")
        return engine(index, inputs)

    return type(made)(made.bundle, sometimes)

run(load)
"""


@pytest.fixture(scope="module")
def double() -> Iterator[rie.Lambda]:
    with rie.running(sys.executable, "-c", DOUBLING) as function:
        yield function


def test_the_emulator_gets_answers(double: rie.Lambda) -> None:
    assert double(b"[[1,2]]") == b"[[2,4]]"
    assert double(b" [[1,2],[3,4],[5,6],[7,8],[9,10]]") == b"[[2,4],[6,8],[10,12],[14,16],[18,20]]"
    answer = json.loads(double(json.dumps(http("[[1,2]]")).encode()))
    assert (answer["statusCode"], answer["body"]) == (200, "[[2,4]]")


def test_the_emulator_gets_errors_and_goes_on(double: rie.Lambda) -> None:
    for event, message in [
        (b"[[1]]", "input[0]: expected a list of 2 for float32[b, 2], got a list of 1"),
        (b"{}", "input: expected a list, as float32[b, 2] is a list of lists of numbers, got an "
                "object with no keys"),
        (b"[[1,", "the request is not JSON: Expecting value at line 1 column 5"),
        (b'{"requestContext": ', "the request is not JSON: Expecting value at line 1 column 20"),
        (b"", "the request is empty: expected float32[b, 2], such as [[1.0, 2.0]]"),
    ]:  # fmt: skip
        assert json.loads(double(event)) == {"errorType": "RequestError", "errorMessage": message}
    failed = json.loads(double(b"[[666,0]]"))
    assert failed["errorType"] == "ZeroDivisionError"
    assert failed["errorMessage"].startswith("internal error, request ")
    assert "ZeroDivisionError: a bug" in double.log()
    assert json.loads(double(json.dumps(http("[[1]]")).encode()))["statusCode"] == 400
    assert double(b"[[1,2]]") == b"[[2,4]]"


EVENTS = {path.stem: path.read_bytes() for path in sorted(Path(HERE, "events").glob("*.json"))}
ASKED = {  # what each kind of event of sam is answered by, once a request is put into it
    "alb-request": {"statusCode": 200},
    "apigateway-aws-proxy": {"statusCode": 200},
    "apigateway-http-api-proxy": {"statusCode": 200},
    "cloudwatch-scheduled-event": {"status": "ok"},
    "dynamodb-update": {"batchItemFailures": []},
    "kinesis-get-records": {"batchItemFailures": []},
    "s3-delete": {"answers": []},
    "sns-notification": {"answers": [[[2, 4]]]},
    "sqs-receive-message": {"batchItemFailures": []},
}


def asking(kind: str) -> dict[str, Any]:
    """An event of sam, with a request in it."""
    value = json.loads(EVENTS[kind])
    if "requestContext" in value:
        post = {"method": "POST", "path": "/", "stage": "$default"}
        value["requestContext"] |= {"http": post} if "rawPath" in value else {}
        where = {"httpMethod": "POST", "path": "/", "rawPath": "/prod/", "isBase64Encoded": False}
        value |= {"body": "[[1,2]]", **{key: where[key] for key in where if key in value}}
        if "rawPath" in value:
            value["requestContext"]["stage"] = "prod"
    for record in value.get("Records", []):
        encoded = base64.b64encode(b"[[1,2]]").decode()
        record |= {"body": "[[1,2]]"} if "body" in record else {}
        record.get("kinesis", {})["data"] = encoded
        record.get("dynamodb", {})["NewImage"] = {"request": {"B": encoded}}
        record.get("Sns", {})["Message"] = "[[1,2]]"
    return value


@pytest.mark.parametrize("kind", ASKED)
def test_the_emulator_gets_every_event_of_sam(double: rie.Lambda, kind: str) -> None:
    expected = ASKED[kind]
    answer = json.loads(double(json.dumps(asking(kind)).encode()))
    assert {key: answer[key] for key in expected} == expected
    if "body" in answer:
        assert answer["body"] == "[[2,4]]"
    json.loads(double(EVENTS[kind]))  # and as it came
    assert "internal error" not in double.log()


def test_a_real_bundle_on_the_emulator(tmp_path: Path) -> None:
    directory = make.dense(tmp_path / "dense", executables=False)
    with rie.running(sys.executable, "-m", "serve.aws", directory) as function:
        assert json.loads(function(b"[[0,0,0],[1,2,3]]")) == [[1, -1], [5, 4.5]]


def test_the_function_in_the_runtime_of_amazon(tmp_path: Path) -> None:
    directory = make.dense(tmp_path / "dense", executables=False)
    path = f"{make.ROOT}:{tools.package('awslambdaric', '4.2.2')}"
    command = (sys.executable, "-m", "awslambdaric", "serve.aws.handler")
    with rie.running(*command, PYTHONPATH=path, LAMDA_BUNDLE=directory) as function:
        assert json.loads(function(b"[[0,0,0],[1,2,3]]")) == [[1, -1], [5, 4.5]]
        answer = json.loads(function(json.dumps(http("[[1,2,3]]")).encode()))
        assert (answer["statusCode"], json.loads(answer["body"])) == (200, [[5, 4.5]])
        assert len(answer["headers"]["x-request-id"]) == 36  # the id of the invocation
        assert json.loads(function(b"[[1]]"))["errorType"] == "RequestError"


def test_a_bundle_that_does_not_load_is_an_init_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with rie.running(sys.executable, "-m", "serve.aws", str(missing)) as function:
        answer = json.loads(function(b"[[1,2]]"))
    assert answer["errorType"] == "BundleError"
    assert answer["errorMessage"].startswith(f"{missing}/manifest.json does not exist.")


# The runtime API, as bytes


class Api:
    """The runtime API on a socket; what it says, the test decides."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(30)
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.peer: socket.socket | None = None

    def asked(self) -> tuple[str, bytes]:
        """The first line and the body of the next request, on a new connection if there is none."""
        data = b""
        while not data:
            if self.peer is None:
                self.peer = self.server.accept()[0]
                self.peer.settimeout(30)
            data = self.peer.recv(65536)
            if not data:
                self.hang_up()
        assert self.peer is not None
        while b"\r\n\r\n" not in data:
            data += self.peer.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self.peer.recv(65536)
        return head.decode().split("\r\n")[0], body

    def say(self, *pieces: bytes) -> None:
        assert self.peer is not None
        for piece in pieces:
            self.peer.sendall(piece)

    def hang_up(self) -> None:
        assert self.peer is not None
        self.peer.close()
        self.peer = None


NEXT = "GET /2018-06-01/runtime/invocation/next HTTP/1.1"
TAKEN = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def event(body: bytes, *headers: bytes, name: bytes = b"7") -> bytes:
    length = b"Content-Length: %d" % len(body)
    fields = [b"HTTP/1.1 200 OK", b"Lambda-Runtime-Aws-Request-Id: " + name, *(headers or [length])]
    return b"\r\n".join([*fields, b"", body])


@contextlib.contextmanager
def function(*arguments: str, **environment: str) -> Iterator[tuple[Api, subprocess.Popen[str]]]:
    """The loop as a process, and the API that it talks to."""
    api = Api()
    process = subprocess.Popen(
        [sys.executable, *(arguments or ("-c", DOUBLING))],
        env={**os.environ, "PYTHONPATH": make.ROOT, "AWS_LAMBDA_RUNTIME_API": api.address}
        | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield api, process
    finally:
        process.kill()
        process.communicate()
        if api.peer is not None:
            api.hang_up()
        api.server.close()


def test_the_loop_over_every_kind_of_connection() -> None:
    with function() as (api, _):
        answered = ("POST /2018-06-01/runtime/invocation/7/response HTTP/1.1", b"[[2,4]]")
        assert api.asked() == (NEXT, b"")
        api.say(event(b"[[1,2]]"))  # whole
        assert api.asked() == answered
        api.say(TAKEN)
        assert api.asked() == (NEXT, b"")
        chunks = [b"3\r\n", b"[[1", b"\r\n4\r\n,2]", b"]\r\n0\r\n\r\n"]
        api.say(event(b"", b"transfer-encoding: chunked"), *chunks)
        assert api.asked() == answered
        api.say(TAKEN.replace(b"Content", b"Connection: close\r\nContent"))  # said to be closed
        api.hang_up()
        assert api.asked() == (NEXT, b"")
        api.say(event(b"[[1,2]]"))
        api.hang_up()  # closed without a word
        assert api.asked() == answered
        api.say(TAKEN)
        api.hang_up()
        assert api.asked() == (NEXT, b"")


TRACE = b"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def test_the_trace_and_the_name_of_an_invocation_are_passed_on() -> None:
    with function() as (api, _):
        assert api.asked() == (NEXT, b"")
        asked = json.dumps(http("[[1,2]]")).encode()
        length = b"Content-Length: %d" % len(asked)
        api.say(event(asked, length, b"Lambda-Runtime-Trace-Id: " + TRACE, name=b"8-a"))
        line, body = api.asked()
        assert line == "POST /2018-06-01/runtime/invocation/8-a/response HTTP/1.1"
        headers = json.loads(body)["headers"]
        assert headers["x-request-id"] == "8-a"
        traced = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"
        assert headers["traceparent"] == traced
        api.say(TAKEN)
        assert api.asked() == (NEXT, b"")
        api.say(event(asked))  # the trace of one invocation is not that of the next
        assert "traceparent" not in json.loads(api.asked()[1])["headers"]


def test_nothing_is_begun_after_the_deadline() -> None:
    with function() as (api, _):
        for left, ended in [(0, "error"), (60, "response")]:
            assert api.asked() == (NEXT, b"")
            deadline = b"Lambda-Runtime-Deadline-Ms: %d" % (1000 * (time.time() + left))
            api.say(event(b"[[1,2]]", b"Content-Length: 7", deadline))
            line, body = api.asked()
            assert line == f"POST /2018-06-01/runtime/invocation/7/{ended} HTTP/1.1"
            if ended == "error":
                assert json.loads(body)["errorMessage"].startswith("expected an answer within ")
            api.say(TAKEN)


def test_what_lambda_refuses_is_in_the_log_and_the_loop_goes_on() -> None:
    with function() as (api, process):
        assert api.asked() == (NEXT, b"")
        api.say(event(b"[[1,2]]"))
        api.asked()
        api.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nlate")
        assert api.asked() == (NEXT, b"")
        api.say(b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nover")
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert process.stderr.read() == (
            "serve: Lambda refused invocation/7/response: 400 b'late'\n"
            "serve: expected an event from Lambda, got status 500: b'over'\n"
        )


def test_without_lambda_there_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serve.aws", "x"],
        env={k: v for k, v in os.environ.items() if k != "AWS_LAMBDA_RUNTIME_API"}
        | {"PYTHONPATH": make.ROOT},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "serve: AWS_LAMBDA_RUNTIME_API is not set: expected HOST:PORT, as Lambda and its emulator "
        "set it\n"
    )


@pytest.mark.parametrize("warm", [True, False])
def test_programs_are_loaded_before_the_first_event_unless_asked_not_to(
    tmp_path: Path, warm: bool
) -> None:
    directory = make.dense(tmp_path / "dense")
    asked = {} if warm else {"LAMDA_WARM": "0"}
    with function("-m", "serve.aws", directory, **asked) as (api, process):
        assert api.asked() == (NEXT, b"")
        assert process.stderr is not None
        said = json.loads(process.stderr.readline().removeprefix("serve: started "))
        assert (said["front"], said["name"], said["way"]) == ("lambda", "dense", "executable")
        shutil.rmtree(f"{directory}/executables")
        shutil.rmtree(f"{directory}/programs")
        for rows in (1, 4):
            api.say(event(json.dumps([[1, 2, 3]] * rows).encode()))
            line, body = api.asked()
            ended = "response" if warm else "error"
            assert line == f"POST /2018-06-01/runtime/invocation/7/{ended} HTTP/1.1"
            assert json.loads(body) == [[5, 4.5]] * rows if warm else b"errorType" in body
            api.say(TAKEN)
            assert api.asked() == (NEXT, b"")
