"""AWS Lambda: events in process, and the runtime loop against Amazon's own emulator."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make
import numpy as np
import pytest
import rie
from memory import ADDRESS, Bundle, doubling, handler

import serve.aws
from serve.aws import invoke, make_handler
from serve.errors import BundleError, RequestError
from serve.forms import MSGPACK, NPY

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


def test_a_real_bundle_on_the_emulator(tmp_path: Path) -> None:
    directory = make.dense(tmp_path / "dense", executables=False)
    with rie.running(sys.executable, "-m", "serve.aws", directory) as function:
        assert json.loads(function(b"[[0,0,0],[1,2,3]]")) == [[1, -1], [5, 4.5]]


def test_a_bundle_that_does_not_load_is_an_init_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with rie.running(sys.executable, "-m", "serve.aws", str(missing)) as function:
        answer = json.loads(function(b"[[1,2]]"))
    assert answer["errorType"] == "BundleError"
    assert answer["errorMessage"].startswith(f"{missing}/manifest.json does not exist.")
