"""Events that are broken in every way: each is refused, and the next good one answered.

CAMPAIGN=10000 tries as many; without it there are 300.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import rie
import tools
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory import doubling

from serve.aws import client, invoke
from serve.errors import RequestError

HERE = Path(__file__).parent
COUNT = int(os.environ.get("CAMPAIGN", "300"))
SAMPLES = [json.loads(path.read_text()) for path in sorted((HERE / "events").glob("*.json"))]
GOOD = [json.loads(text.replace('"BODY"', json.dumps("[[1,2]]"))) for text in (
    '{"requestContext": {"http": {"method": "POST"}}, "rawPath": "/", "body": "BODY"}',
    '{"requestContext": {"elb": {}}, "httpMethod": "POST", "path": "/", "body": "BODY"}',
    '{"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": "BODY"}]}',
    '{"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "BODY"}}]}',
    '{"Records": [{"eventSource": "aws:kinesis",'
    ' "kinesis": {"data": "W10=", "sequenceNumber": "n"}}]}',
    '{"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"SequenceNumber": "n",'
    ' "NewImage": {"request": {"L": [{"L": [{"N": "1"}, {"N": "2"}]}]}}}}]}',
    '{"detail-type": "a", "source": "b", "detail": [[1, 2]]}',
)]  # fmt: skip

TELLING = ("", "é", "\ud800", "aws:sqs", "aws:s3", "POST", "/", "[[1,2]]", "NaN", "==")
WORDS = st.text(max_size=8)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.sampled_from(TELLING),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def inside(value: Any) -> list[tuple[Any, Any]]:
    """The keys and the values of an object or a list."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside of a value."""
    return [path, *(found for key, each in inside(value) for found in places(each, (*path, key)))]


@st.composite
def broken(draw: st.DrawFn) -> Any:
    """An event with up to three parts left out, or with others in their place."""
    event = json.loads(json.dumps(draw(st.sampled_from(SAMPLES + GOOD))))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(event)))
        if not path:
            return draw(JSONS)
        parent = event
        for key in path[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            del parent[path[-1]]
        else:
            parent[path[-1]] = draw(JSONS)
    return event


def cut(event: bytes, at: float) -> bytes:
    """The first part of an event."""
    return event[: int(at * len(event))]


TEXTS = broken().map(lambda event: json.dumps(event).encode())
EVENTS = (
    TEXTS
    | st.builds(cut, TEXTS, st.floats(0, 1))
    | st.binary(max_size=40)
    | st.sampled_from([
        b"[" * 100_000, b'{"Records":' * 50_000, b'{"requestContext":' * 50_000,
        b'{"detail-type":"a","detail":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"detail-type":"a","detail":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"requestContext":{"http":{"method":"POST"}},"body":"' + b"[" * 20_000 + b'"}',
        b'{"requestContext":{"http":{"method":"POST"}},"body":"[[1e999,2]]"}',
        b'"who', b'"', b'""', b'"\xff"', b"\xef\xbb\xbf[[1,2]]",
        b'{"Records":[{"eventSource":[]}]}',
    ])
)  # fmt: skip


def fair(answer: Any) -> bool:
    """Is that no failure of ours? Records name what failed, HTTP has a status."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return True
    json.loads(answer["body"] or "null")
    return answer["statusCode"] < 500


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which an object of S3 is asked of nobody."""
    monkeypatch.setattr(client, "PAUSES", (None,))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{tools.free_port()}")


@settings(max_examples=COUNT, suppress_health_check=list(HealthCheck))
@given(event=EVENTS)
def test_a_broken_event_is_refused(nowhere: None, event: bytes) -> None:
    handler = doubling()
    with contextlib.suppress(RequestError, client.AwsError):
        assert fair(json.loads(invoke(handler, event)))
    assert invoke(handler, b"[[1,2]]") == b"[[2,4]]"


LOOP = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from memory import doubling
from serve.aws import run
run(doubling)
"""


def test_the_emulator_survives_them_all_and_grows_by_nothing() -> None:
    sizes: list[int] = []

    @settings(max_examples=COUNT, suppress_health_check=list(HealthCheck), database=None)
    @given(event=EVENTS.filter(lambda event: b"aws:s3" not in event and b"aws.s3" not in event))
    def each(event: bytes) -> None:
        answer = function(event)
        said = json.loads(answer)
        if isinstance(said, dict) and "errorType" in said:
            assert said["errorType"] == "RequestError"
        else:
            assert fair(said)
        sizes.append(resident(process))
        if len(sizes) % 10 == 0:
            assert function(b"[[1,2]]") == b"[[2,4]]"

    with rie.running(sys.executable, "-c", LOOP) as function:
        assert function(b"[[1,2]]") == b"[[2,4]]"
        process = function.process()
        each()
        assert function(b"[[1,2]]") == b"[[2,4]]"
        assert "Traceback" not in function.log().replace("internal error", "Traceback")
    settled = max(sizes[: len(sizes) // 3])
    assert sizes[-1] <= settled + 4096, f"grew from {settled} to {sizes[-1]} KiB"


def resident(process: int) -> int:
    """The KiB that a process has in memory."""
    with open(f"/proc/{process}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
