"""A safety campaign: broken requests, generated, against one adapter.

campaign.run(ask, valid, memory) asks CAMPAIGN times (200, or what the variable says): the status
is never 5xx, the memory does not grow, and after each hundred a valid request is answered right.
"""

from __future__ import annotations

import gc
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("CAMPAIGN", "200"))
MOST = 24 << 20  # bytes that a process may grow by: allocators keep what they had once
MOST_HELD = 100_000  # that code of `serve` may hold more of, in this process

# A server may close a connection that is silent just when the next request is written to it.
ONCE = httpx.Limits(max_keepalive_connections=0)


class Request(NamedTuple):
    """A request of HTTP; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


NUMBERS = st.integers() | st.floats() | st.sampled_from([1e39, -0.0, 10**400, 2**63])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["value", "data", "message", "text", "id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ROWS = st.lists(st.lists(NUMBERS, max_size=4), max_size=4)
DEEP = st.integers(1, 3000).map(lambda n: b"[" * n)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _msgpack(value: Any) -> bytes:
    try:
        return msgpack.packb(value, unicode_errors="surrogatepass") or b""
    except (OverflowError, ValueError):
        return b"\xc1"


def _cut(body: bytes, at: int) -> bytes:
    return body[: at % (len(body) + 1)]


BODIES = st.one_of(
    st.binary(max_size=64), VALUES.map(_json), ROWS.map(_json), VALUES.map(_msgpack), DEEP,
    st.builds(_cut, ROWS.map(_json), st.integers(0, 1000)),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.just(b"[[1,2,3]]" * 10_000),
)  # fmt: skip
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
TYPES = st.sampled_from([
    "application/json", "application/msgpack", "application/x-npy", "text/plain", "text/html",
    "application/octet-stream", "application/json; charset=latin-1", "image/png", "*/*", "a",
    "application/cloudevents+json", "application/cloudevents-batch+json", "application/x-ndjson",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
])  # fmt: skip
HEADERS = st.fixed_dictionaries({}, optional={
    "content-type": TYPES | WORDS, "accept": TYPES | WORDS,
    "content-encoding": st.sampled_from(["gzip", "br", "identity", "x"]),
    "accept-encoding": st.sampled_from(["gzip", "*", "x;q=a"]),
    "if-none-match": WORDS, "traceparent": WORDS,
    "ce-specversion": st.just("1.0") | WORDS, "ce-id": WORDS, "ce-source": WORDS, "ce-type": WORDS,
    "x-amzn-sagemaker-custom-attributes": WORDS,
})  # fmt: skip
METHODS = st.sampled_from(["POST"] * 6 + ["GET", "PUT", "DELETE", "OPTIONS"])
PATHS = st.sampled_from(["/"] * 6 + ["/x", "/stream", "/%2e%2e/", "//", "/who"])


def _evented(headers: dict[str, str], value: Any) -> Request:
    """A structured event with something in it."""
    envelope = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **value}
    found = {**headers, "content-type": "application/cloudevents+json"}
    return Request("POST", "/", found, _json(envelope))


ENVELOPES = st.fixed_dictionaries({}, optional={
    "data": VALUES | ROWS, "data_base64": VALUES, "datacontenttype": TYPES | VALUES, "id": VALUES,
    "type": st.just("google.cloud.pubsub.topic.v1.messagePublished") | VALUES, "source": VALUES,
    "specversion": VALUES, "subject": VALUES,
})  # fmt: skip
REQUESTS = st.builds(Request, METHODS, PATHS, HEADERS, BODIES) | st.builds(
    _evented, HEADERS, ENVELOPES
)


def run(
    ask: Callable[[Any], int],
    valid: Callable[[], None],
    memory: Callable[[], int] | None = None,
    requests: Any = REQUESTS,
) -> None:
    """Ask with everything that is generated; `ask` gives the status, `valid` is an assertion."""
    asked, before = 0, 0

    @settings(
        max_examples=EXAMPLES, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(requests)
    def broken(request: Any) -> None:
        nonlocal asked, before
        status = ask(request)
        assert 200 <= status < 500, (status, request)
        asked += 1
        if asked % 100 == 0:
            valid()
        if memory is not None and asked == EXAMPLES // 2:  # what is made once is made by now
            before = memory()
        if memory is None and asked == EXAMPLES - max(100, EXAMPLES // 10):
            tracemalloc.start()  # which makes all of it four times as slow

    try:
        valid()
        broken()
        valid()
        assert asked >= EXAMPLES
        assert memory() - before < MOST if memory else held() < MOST_HELD
    finally:
        tracemalloc.stop()


def held() -> int:
    """Bytes that code of `serve` has allocated since they are traced, and holds."""
    gc.collect()
    serve = tracemalloc.Filter(True, str(Path(__file__).parents[2] / "serve" / "*"))
    found = tracemalloc.take_snapshot().filter_traces([serve])
    return sum(each.size for each in found.traces)


def resident(pid: int) -> int:
    """Bytes in memory of a process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident, map(int, children)))
