"""HTTP through API Gateway, function URLs and load balancers, beside what Mangum makes of it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tools
from memory import Bundle, doubling, handler

from serve.aws import make_handler
from serve.aws.context import traceparent
from serve.body.forms import MSGPACK, NPY
from serve.http.asgi import make_app

EVENTS = Path(__file__).parent / "events"
KINDS = ("apigateway-aws-proxy", "apigateway-http-api-proxy", "alb-request")
GZIPPED = base64.b64encode(gzip.compress(b"[[1,2]]", mtime=0)).decode()
CONTEXT = SimpleNamespace(aws_request_id="7", get_remaining_time_in_millis=lambda: 3000)


def sample(kind: str) -> dict[str, Any]:
    """An event that `sam local generate-event` made."""
    return json.loads((EVENTS / f"{kind}.json").read_text())


def asking(kind: str, method: str, path: str, body: str | None, **headers: str) -> dict[str, Any]:
    """An event of a kind, as sam made it, with another request in it."""
    event = sample(kind)
    if "http" in event["requestContext"]:
        event["rawPath"], event["requestContext"]["stage"] = path, "$default"
        event["requestContext"]["http"] |= {"method": method, "path": path}
    else:
        event["httpMethod"], event["path"] = method, path
    event["headers"] = {name.replace("_", "-"): value for name, value in headers.items()}
    if "multiValueHeaders" in event:
        event["multiValueHeaders"] = {n: [v] for n, v in event["headers"].items()}
    return event | {"body": body, "isBase64Encoded": False}


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """What of an answer reaches the client, in one spelling."""
    lists = answer.get("multiValueHeaders") or {}
    headers = answer.get("headers", {}) | {name: ", ".join(lists[name]) for name in lists}
    body = answer["body"]
    body = base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()
    return {
        "status": answer["statusCode"],
        # An id that each made up, and what a server of ASGI adds, say nothing of the answer.
        "headers": {n.lower(): v for n, v in headers.items()
                    if n.lower() not in ("x-request-id", "traceparent", "server-timing")},
        "body": body,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_event_that_sam_makes_is_answered(kind: str) -> None:
    answer = make_handler(doubling())(sample(kind), CONTEXT)
    assert answer["statusCode"] == 404  # each asks for a path of its own
    assert "no such path" in json.loads(answer["body"])["error"]
    posted = asking(kind, "POST", "/", "[[1,2]]", Content_Type="application/json")
    answer = make_handler(doubling())(posted, CONTEXT)
    assert (answer["statusCode"], answer["body"]) == (200, "[[2,4]]")


@pytest.fixture(scope="module")
def mangum() -> Any:
    """It wants an event loop of the thread, and closes none."""
    sys.path.append(str(tools.package("mangum", "0.22.0")))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield importlib.import_module("mangum").Mangum
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "more"),
    [
        ("POST", "/", "[[1,2]]", {"Content_Type": "application/json"}, {}),
        ("POST", "/", "[[1,2]]", {}, {}),
        ("POST", "/", "W1sxLDJdXQ==", {}, {"isBase64Encoded": True}),
        ("POST", "/", "[[1,2]]", {"ACCEPT": NPY}, {}),
        ("POST", "/", "[[1,2]]", {"Accept": f"{MSGPACK};q=0.9, */*;q=0.1"}, {}),
        ("POST", "/", "[[1]]", {}, {}),
        ("POST", "/", "", {}, {}),
        ("POST", "/", "x", {"content_type": "a/b"}, {}),
        ("POST", "/", "é\n", {"content_type": "text/plain"}, {}),
        ("PUT", "/", "", {}, {}),
        ("GET", "/", None, {}, {}),
        ("GET", "/", None, {"accept_encoding": "br, gzip"}, {}),
        ("POST", "/", GZIPPED, {"content_encoding": "gzip"}, {"isBase64Encoded": True}),
        ("POST", "/", GZIPPED, {"content_encoding": "br"}, {"isBase64Encoded": True}),
        ("HEAD", "/", None, {}, {}),
        ("GET", "/healthz", None, {}, {}),
        ("GET", "/%68ealthz", None, {}, {}),
        ("GET", "/nowhere/é", None, {}, {}),
    ],
)
def test_mangum_and_we_answer_alike(
    mangum: Any, kind: str, method: str, path: str, body: str | None, headers: Any, more: Any
) -> None:
    event = asking(kind, method, path, body, **headers) | more
    found = doubling()
    expected = mangum(make_app(found), lifespan="off")(json.loads(json.dumps(event)), CONTEXT)
    assert plain(make_handler(found)(event, CONTEXT)) == plain(expected)


def test_a_load_balancer_gets_lists_of_headers_for_lists() -> None:
    function = make_handler(doubling())
    event = asking("alb-request", "POST", "/", "[[1,2]]")
    single = function(event, None)
    assert single["statusDescription"] == "200 OK"
    assert "multiValueHeaders" not in single
    del event["headers"]
    lists = {"content-type": ["application/json"], "accept": ["a/b", MSGPACK]}
    several = function(event | {"multiValueHeaders": lists}, None)
    assert several["multiValueHeaders"]["content-type"] == [MSGPACK]
    assert (several["isBase64Encoded"], "headers" in several) == (True, False)
    wrong = function(event | {"multiValueHeaders": lists, "path": "/x"}, None)
    assert (wrong["statusCode"], wrong["statusDescription"]) == (404, "404 Not Found")


def test_a_health_check_of_a_load_balancer() -> None:
    checks = asking("alb-request", "GET", "/healthz", "", user_agent="ELB-HealthChecker/2.0")
    assert json.loads(make_handler(doubling())(checks, None)["body"]) == {"status": "ok"}


@pytest.mark.parametrize(
    ("path", "stage", "base", "status"),
    [
        ("/prod/healthz", "prod", "", 200),
        ("/prod", "prod", "", 200),
        ("/production", "prod", "", 404),  # once cut to "uction"
        ("/healthz", "h", "", 200),  # once cut to "ealthz"
        ("/healthz", "$default", "", 200),
        ("/models/news/healthz", "$default", "/models/news", 200),
        ("/models/news", "$default", "/models/news/", 200),
        ("/models/newspaper", "$default", "/models/news", 404),
        ("/prod/models/news/healthz", "prod", "/models/news", 200),
    ],
)
def test_stages_and_base_paths_are_no_part_of_the_path(
    monkeypatch: pytest.MonkeyPatch, path: str, stage: str, base: str, status: int
) -> None:
    monkeypatch.setenv("LAMDA_BASE_PATH", base)
    event = asking("apigateway-http-api-proxy", "GET", path, None)
    event["requestContext"]["stage"] = stage
    assert make_handler(doubling())(event, None)["statusCode"] == status


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"headers": ["a"]}, "expected the headers of an HTTP event to be an object"),
        ({"headers": {"A": 1}}, "expected the header A of an HTTP event to be text"),
        ({"multiValueHeaders": {"a": [None]}}, "expected the header a of an HTTP event to be text"),
        ({"rawPath": 5}, "expected the path of an HTTP event to be text"),
        ({"body": {"a": 1}}, "expected the body of an HTTP event to be text"),
        (
            {"requestContext": {"http": None, "elb": {}}, "httpMethod": 5, "path": "/"},
            "expected the method of an HTTP event to be text",
        ),
        ({"requestContext": {"http": None}}, "expected the method of an HTTP event to be text"),
        ({"requestContext": {"http": []}}, "expected the method of an HTTP event to be text"),
    ],
)
def test_an_event_that_is_nearly_http_is_a_400(change: Any, message: str) -> None:
    event = asking("apigateway-http-api-proxy", "POST", "/", "[[1,2]]") | change
    answer = make_handler(doubling())(event, None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (400, {"error": message})


@pytest.mark.parametrize(("kind", "most", "who"), [
    ("alb-request", 1 << 20, "a load balancer"), ("apigateway-aws-proxy", 6_291_556, "Lambda"),
])  # fmt: skip
def test_an_answer_that_is_too_large_is_a_413(kind: str, most: int, who: str) -> None:
    import numpy as np

    one, wide = {"array": ["uint8", []]}, {"array": ["uint8", [most // 2]]}
    function = make_handler(handler(Bundle(one, wide), lambda x: [np.full(most // 2, x)]))
    answer = function(asking(kind, "POST", "/", "1"), None)
    assert answer["statusCode"] == 413
    said = json.loads(answer["body"])["error"]
    assert said.startswith("the answer has ")
    assert said.endswith(f" bytes, {who} takes {most}: send fewer rows")


def test_what_there_is_no_time_for_is_a_504() -> None:
    late = SimpleNamespace(aws_request_id="7", get_remaining_time_in_millis=lambda: 20)
    posted = asking("apigateway-aws-proxy", "POST", "/", "[[1,2]]")
    answer = make_handler(doubling())(posted, late)
    assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (
        504, "expected an answer within 0 s, which is what Lambda left of the invocation: send "
        "fewer rows at a time, or give the function a longer timeout",
    )  # fmt: skip
    ours = make_handler(doubling(max_seconds=1e-9))(posted, CONTEXT)  # whose limit it was is said
    assert json.loads(ours["body"])["error"].endswith("more time by LAMDA_MAX_SECONDS")
    assert make_handler(doubling())(posted, CONTEXT)["statusCode"] == 200


TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (TRACE, "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"),
        (TRACE[:-1] + "0; Lineage=a87bd80c:0",
         "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00"),
        ("Root=1-5759e988-bd862e3fe1be46a994272793", None),
        ("Self=1", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_trace_of_x_ray_is_one_of_w3c(trace: str, expected: str | None) -> None:
    assert traceparent(trace) == expected


def test_the_invocation_is_told_as_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def respond(handler: Any, method: str, path: str, headers: Any, body: bytes) -> Any:
        seen.append(headers)
        return 200, {"content-type": "application/json"}, b"1"

    monkeypatch.setattr("serve.aws.web.respond", respond)
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE)
    function = make_handler(doubling())
    function(asking("alb-request", "POST", "/", "1"), CONTEXT)
    function(asking("alb-request", "POST", "/", "1", X_Request_ID="mine", traceparent="t"), CONTEXT)
    named = {"x-request-id": "7", "x-amzn-trace-id": TRACE, "traceparent": traceparent(TRACE)}
    assert seen == [named, named | {"x-request-id": "mine", "traceparent": "t"}]
