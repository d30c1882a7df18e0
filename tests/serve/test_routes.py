"""What `respond` says to every front: messages, tags, codings, names, health, counters, limits."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import ADDRESS, PRED, Bundle, doubling, handler
from prometheus_client.parser import text_string_to_metric_families

from serve import log, trace
from serve.body.coding import MEMBERS, packed, unpacked
from serve.body.forms import JSON, MSGPACK, accepted, requested
from serve.errors import RequestError, ServeError
from serve.handler import Handler
from serve.http import etag, respond
from serve.watch import LOADING, QUICK, STOPPING, Watch, warm

BODY = b"[[1,2]]"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def ask(
    method: str, path: str, body: bytes = b"", function: Handler | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return respond(function or doubling(), method, path, named, body)


def said(response: tuple[int, dict[str, str], bytes]) -> tuple[int, Any]:
    return response[0], json.loads(response[2])


# Messages


def test_who_and_pred_are_answered_and_succ_is_told_from_others() -> None:
    assert said(ask("GET", "/who")) == (200, ADDRESS)
    assert said(ask("GET", "/pred")) == (200, PRED)
    for method in ("GET", "POST"):
        status, told = said(ask(method, "/succ"))
        assert status == 404
        assert told["error"].startswith("no successor is known here: a version is never changed")
    assert ask("POST", "/who")[1]["allow"] == "GET, HEAD"


# Tags


def test_an_answer_has_a_tag_and_is_not_computed_for_who_has_it() -> None:
    calls: list[int] = []
    one = {"array": ["float32", []]}

    def counted(x: np.ndarray) -> list[np.ndarray]:
        calls.append(1)
        return [x]

    function = handler(Bundle(one, one), counted)
    status, headers, body = ask("POST", "/", b"1.5", function)
    assert (status, body, len(calls)) == (200, b"1.5", 1)
    tag = headers["etag"]
    for named in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        status, headers, body = ask("POST", "/", b"1.5", function, if_none_match=named)
        assert (status, body, headers["etag"]) == (304, b"", tag)
        assert headers["lamda-address"] == ADDRESS
    assert len(calls) == 1
    for named in ('"other"', "*", ""):  # it is not known whether the request has an answer
        assert ask("POST", "/", b"1.5", function, if_none_match=named)[0] == 200
    assert ask("POST", "/", b"[", function, if_none_match=tag)[0] == 400


def test_a_tag_is_of_the_address_the_body_and_both_forms() -> None:
    function = doubling()

    def tag(body: bytes = BODY, **headers: str) -> str:
        status, more, _ = ask("POST", "/", body, function, **headers)
        assert status == 200
        return more["etag"]

    first = tag()
    assert first == tag(accept="*/*") == tag(content_type="application/json", x_request_id="a")
    npy = ask("POST", "/", BODY, function, accept="application/x-npy")[2]
    others = [
        tag(b"[[1,3]]"),
        tag(accept=MSGPACK),
        tag(npy, content_type="application/x-npy"),
        tag(npy, content_type="application/x-npy", accept=JSON),
    ]
    function.bundle.address = "sha256:" + "c3" * 32
    assert len({first, *others, tag()}) == 6


@pytest.mark.parametrize("path", ["/", "/who", "/pred", "/openapi.json"])
def test_what_is_got_has_a_tag_too_and_head_has_no_body(path: str) -> None:
    function = doubling()
    status, headers, body = ask("GET", path, function=function)
    assert ask("HEAD", path, function=function) == (status, headers, b"")
    assert headers["content-length"] == str(len(body))
    for named in (headers["etag"], "*"):
        again = ask("GET", path, function=function, if_none_match=named)
        assert (again[0], again[2]) == (304, b"")


def test_tags_of_parts_do_not_run_into_each_other() -> None:
    tags = [etag.of(parts, b"d") for parts in (("ab", "c"), ("a", "bc"), ("abc",), ())]
    assert len({*tags, etag.of(("ab",), b"cd")}) == 5


# Forms


def test_text_that_is_not_unicode_is_refused() -> None:
    assert requested("application/json; charset=UTF-8", [JSON]) == JSON
    assert requested('application/json; charset="us-ascii"', [JSON]) == JSON
    with pytest.raises(RequestError, match='expected the charset utf-8, got "latin-1"') as caught:
        requested("application/json; charset=latin-1", [JSON])
    assert caught.value.status == 415


def test_other_names_of_a_form_count() -> None:
    for name in ("application/x-msgpack", "application/vnd.msgpack"):
        assert requested(name, [JSON, MSGPACK]) == MSGPACK
        assert accepted(name, [JSON, MSGPACK]) == MSGPACK
    assert accepted("text/html, image/gif, *; q=.2, */*; q=.2", [JSON]) == JSON  # as Java asks
    assert accepted("text/html, *;q=.2", [JSON]) == JSON


# Codings


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY[:3], mtime=0) + gzip.compress(BODY[3:], mtime=0)),
    ],
)
def test_a_packed_request_is_unpacked(coding: str, data: bytes) -> None:
    assert ask("POST", "/", data, content_encoding=coding)[2] == b"[[2,4]]"


@pytest.mark.parametrize(
    ("coding", "data", "status", "message"),
    [
        ("br", BODY, 415, "expected the content encoding gzip, deflate or identity, got"),
        ("gzip", BODY, 400, "the request is not gzip: incorrect header check"),
        (
            "gzip",
            gzip.compress(BODY, mtime=0)[:-1],
            400,
            "the request is not gzip: it ends in the middle",
        ),
        (
            "gzip",
            gzip.compress(b" " * 1001, mtime=0),
            413,
            "expected fewer bytes, when the gzip is unp",
        ),
        (
            "gzip",
            gzip.compress(b" ", mtime=0) * 65,
            400,
            "expected at most 64 files in one body of gzip",
        ),
    ],
)
def test_a_packed_request_that_is_broken(
    coding: str, data: bytes, status: int, message: str
) -> None:
    function = doubling(max_bytes=1000)
    found, told = said(ask("POST", "/", data, function, content_encoding=coding))
    assert found == status
    assert told["error"].startswith(message)


def test_a_bomb_is_not_unpacked_further_than_allowed() -> None:
    bomb = gzip.compress(bytes(1 << 30), 9)
    began = time.process_time()
    with pytest.raises(RequestError):
        unpacked(bomb, "gzip", 1 << 20)
    with pytest.raises(RequestError):
        unpacked(gzip.compress(b"") * 100_000, "gzip", 1 << 20)
    assert time.process_time() - began < 1
    assert MEMBERS < 1000


def test_a_long_answer_is_packed_for_those_who_can_unpack_it() -> None:
    body = json.dumps([[0.5] * 2] * 500).encode()
    response = ask("POST", "/", body)
    long = response[2]
    status, headers, data = packed(response, "br, gzip;q=0.5")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert headers["content-length"] == str(len(data))
    assert gzip.decompress(data) == long
    assert packed(response, "gzip")[2] == data  # the same bytes at any time
    for accept in (None, "br", "gzip;q=0", "identity"):
        _, headers, data = packed(response, accept)
        assert data == long
        assert "content-encoding" not in headers
        assert headers.get("vary") == (accept and "Accept-Encoding")
    assert packed(ask("POST", "/", BODY), "gzip")[2] == b"[[2,4]]"  # too short to be worth it


# Names


def test_the_names_of_a_request_are_passed_on() -> None:
    _, headers, _ = ask("POST", "/", BODY, x_request_id="a-1", traceparent=PARENT)
    assert (headers["x-request-id"], headers["traceparent"]) == ("a-1", PARENT)
    _, headers, _ = ask("POST", "/", b"[", x_request_id="a-1")
    assert headers["x-request-id"] == "a-1"


@pytest.mark.parametrize("name", ["", "a b", "x\r\nset-cookie: a", "a" * 129, "ä"])
def test_a_name_that_is_none_is_not_passed_on_and_replaced_at_the_door(name: str) -> None:
    headers = ask("POST", "/", BODY, x_request_id=name, traceparent=PARENT + name + "x")[1]
    assert not {"x-request-id", "traceparent"} & set(headers)
    given = {"x-request-id": name}
    trace.identify(given)
    assert len(given["x-request-id"]) == 16


@pytest.mark.parametrize(
    ("parent", "name"),
    [
        (PARENT, PARENT[3:35]),
        (PARENT.replace("00-", "01-", 1) + "-more", PARENT[3:35]),
        (PARENT.replace("00-", "ff-", 1), None),
        (PARENT.upper(), None),
        ("00-" + "0" * 32 + PARENT[35:], None),
        (PARENT[:36] + "0" * 16 + "-01", None),
        (PARENT + "-" + "a" * 500, None),
        (None, None),
    ],
)
def test_a_trace_is_one_of_w3c(parent: str | None, name: str | None) -> None:
    assert trace.trace(parent) == name


def test_a_bug_is_logged_under_the_name_of_the_request(capfd: pytest.CaptureFixture[str]) -> None:
    one = {"array": ["float32", []]}
    broken = handler(Bundle(one, one), lambda x: 1 / 0)
    status, told = said(ask("POST", "/", b"1", broken, x_request_id="a-1"))
    assert (status, told) == (500, {"error": "internal error, request a-1"})
    assert "request a-1 failed:\nTraceback" in capfd.readouterr().err
    assert ask("POST", "/", b"1", broken, x_request_id="a b")[0] == 500
    assert "a b" not in capfd.readouterr().err


# The log


def test_the_log_has_a_line_of_json_for_each_request(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMDA_LOG", "json")
    function = doubling()
    log.started("http", function)
    ask("POST", "/", BODY, function, x_request_id="a-1", traceparent=PARENT)
    ask("GET", "/\r\nx" + "y" * 900, function=function)
    broken = doubling()
    broken.bundle.output = None
    ask("POST", "/", BODY, broken, x_request_id="b")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    start, first, second, failed, third = lines
    assert (start["event"], start["front"], start["way"]) == ("started", "http", "memory")
    assert first.pop("ms") > 0
    assert first.pop("time").startswith("20")
    assert first == {
        "event": "request", "id": "a-1", "trace": PARENT[3:35], "method": "POST", "path": "/",
        "status": 200, "received": 7, "sent": 7,
    }  # fmt: skip
    assert (second["status"], second["id"], len(second["path"])) == (404, None, 200)
    assert (failed["event"], failed["id"]) == ("failed", "b")
    assert "Traceback" in failed["traceback"]
    assert (third["status"], third["id"]) == (500, "b")


def test_the_log_as_text_and_off(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMDA_LOG", "text")
    ask("POST", "/", BODY, x_request_id="a-1")
    ask("GET", "/\nforged")
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith('serve: "POST /" 200 ')
    assert first.endswith(" ms 7 B in 7 B out a-1")
    assert second.startswith(r'serve: "GET /\nforged" 404 ')
    monkeypatch.delenv("LAMDA_LOG")
    ask("POST", "/", BODY)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LAMDA_LOG", "xml", "LAMDA_LOG is 'xml': expected off or json or text"),
        ("LAMDA_MAX_BYTES", "1e9", "LAMDA_MAX_BYTES is '1e9': expected a whole number from 1"),
        ("LAMDA_MAX_SECONDS", "-1", "LAMDA_MAX_SECONDS is '-1': expected a number of seconds, "),
    ],
)
def test_wrong_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ServeError) as caught:
        doubling()
    assert str(caught.value).startswith(message)


def test_settings_are_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMDA_MAX_BYTES", "6")
    monkeypatch.setenv("LAMDA_MAX_SECONDS", "2.5")
    function = doubling()
    assert (function.max_bytes, function.max_seconds) == (6, 2.5)
    assert ask("POST", "/", BODY, function)[0] == 413


# Health and counters


def test_ready_is_when_the_programs_are_loaded_and_until_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LAMDA_WARM", raising=False)
    function = doubling()
    seen: list[tuple[int, Any]] = []
    function.engine.warm = lambda: seen.append(said(ask("GET", "/readyz", function=function)))
    warm(function)
    status, told = seen[0]
    assert status == 503
    assert told == {"error": "the programs of the model are being loaded: try again in a moment"}
    assert said(ask("GET", "/readyz", function=function)) == (200, {"status": "ready"})
    for state in (LOADING, STOPPING):
        function.watch.state = state
        status, headers, _ = ask("GET", "/readyz", function=function)
        assert (status, headers["retry-after"]) == (503, "1")
        assert ask("GET", "/healthz", function=function)[0] == 200
        assert ask("POST", "/", BODY, function)[0] == 200
    monkeypatch.setenv("LAMDA_WARM", "0")
    warm(function)
    assert len(seen) == 1
    assert ask("GET", "/readyz", function=function)[0] == 200


def test_metrics_are_what_prometheus_reads() -> None:
    function = doubling()
    function.bundle.name = 'a "name"\\\nof two lines'
    for path in ("/", "/", "/healthz", "/../etc", "/x", "/stream"):
        ask("POST", path, BODY, function)
    for method in ("GET", "BREW", "SIP"):
        ask(method, "/nothing", function=function)
    _, headers, body = ask("GET", "/metrics", function=function)
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert found["lamda_request_seconds"].type == "histogram"
    counts = {
        (s.labels["route"], s.labels["method"], s.labels["status"]): s.value
        for s in found["lamda_request_seconds"].samples
        if s.name.endswith("_count")
    }
    assert counts == {
        ("/", "POST", "200"): 2,
        ("/healthz", "POST", "405"): 1,
        ("/stream", "POST", "404"): 1,
        ("other", "POST", "404"): 2,
        ("other", "GET", "404"): 1,
        ("other", "other", "404"): 2,
    }
    (info,) = found["lamda_model_info"].samples
    assert info.labels["name"] == function.bundle.name
    (ready,) = found["lamda_ready"].samples
    assert ready.value == 1
    received = {s.labels["route"]: s.value for s in found["lamda_received_bytes"].samples}
    assert received["/"] == 14
    assert found["process_resident_memory_bytes"].samples[0].value > 1e6


@given(st.lists(st.floats(0, 20), max_size=30))
def test_a_bucket_counts_all_that_took_as_long_or_less(times: list[float]) -> None:
    function = doubling()
    for seconds in times:
        function.watch.count("/", "POST", 200, seconds, 0, 0)
    text = ask("GET", "/metrics", function=function)[2].decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "lamda_request_seconds_bucket" and sample.labels["route"] == "/":
                bound = float(sample.labels["le"])
                assert sample.value == sum(seconds <= bound for seconds in times)


def test_what_is_slow_only_beside_others_is_quick() -> None:
    """In six threads on one core each of six takes as long as all of them."""
    watch = Watch()
    watch.beside = 6
    for _ in range(2 * QUICK):
        watch.count("/", "POST", 200, 0.003, 100, 100)
    assert watch.quick("/", 100)
    watch.beside = 1
    for _ in range(2 * QUICK):
        watch.count("/", "POST", 200, 0.003, 100, 100)
    assert not watch.quick("/", 100)


def test_what_was_quick_for_long_is_known_to_be() -> None:
    watch = Watch()
    for _ in range(QUICK):
        assert not watch.quick("/", 100)
        watch.count("/", "POST", 200, 0.0001, 100, 1)
    assert watch.quick("/", 100)
    assert not watch.quick("/", 1000)  # larger ones may be slower
    assert not watch.quick("/v2", 100)
    watch.count("/", "POST", 400, 5, 100, 1)  # what was refused says nothing
    assert watch.quick("/", 100)
    watch.count("/", "POST", 200, 0.05, 100, 1)
    assert not watch.quick("/", 100)


# Time


def test_nothing_is_begun_when_the_time_is_over() -> None:
    calls: list[int] = []
    one = {"array": ["float32", ["b"]]}

    def slow(x: np.ndarray) -> list[np.ndarray]:
        calls.append(len(x))
        time.sleep(0.1)
        return [x]

    function = handler(Bundle(one, one, {"b": [1]}), slow, max_seconds=0.15)
    assert ask("POST", "/", b"[1]", function)[0] == 200
    status, told = said(ask("POST", "/", b"[1,2,3,4,5,6]", function))
    assert status == 504
    assert told["error"] == (
        "expected an answer within 0.15 s: send fewer rows at a time, or give the server more time "
        "by LAMDA_MAX_SECONDS"
    )
    assert len(calls) == 3  # of which one was the request before
