"""A safety campaign: broken requests, generated, against one adapter.

campaign.run(ask, valid, grown) asks CAMPAIGN times (200, or what the variable says): the status
is never 5xx, the memory does not grow, and after each hundred a valid request is answered right.
What answers is always in a process of its own, since Hypothesis keeps much in this one.

campaign.Apart(make)    a function of requests, apart: what it holds is counted to the byte
campaign.Process(pid)   a server: what is resident of it, and of what it started
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import msgpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("CAMPAIGN", "200"))
LAST = max(100, EXAMPLES // 10)  # requests that the growth of a process apart is measured over

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


class Grown(Protocol):
    """What tells how many bytes more there are than when it was told to begin."""

    most: int
    last: int
    """How many requests before the end it begins."""

    def begin(self) -> None: ...

    def grown(self) -> int: ...


class Report(NamedTuple):
    """What came of a campaign."""

    requests: int
    statuses: dict[int, int]
    grown: int
    over: int
    seconds: float

    def __str__(self) -> str:
        said = ", ".join(f"{status}: {n}" for status, n in sorted(self.statuses.items()))
        return (
            f"{self.requests} requests in {self.seconds:.0f} s, statuses {said}; "
            f"grown by {self.grown} bytes over the last {self.over}"
        )


def run(
    ask: Callable[[Any], int], valid: Callable[[], None], grown: Grown, requests: Any = REQUESTS
) -> Report:
    """Ask with everything that is generated; `ask` gives the status, `valid` is an assertion."""
    statuses: Counter[int] = Counter()
    began = time.monotonic()

    @settings(
        max_examples=EXAMPLES, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(requests)
    def broken(request: Any) -> None:
        status = ask(request)
        assert 200 <= status < 500, (status, request)
        statuses[status] += 1
        if statuses.total() % 100 == 0:
            valid()
        if statuses.total() == EXAMPLES - grown.last:  # what is made once is made by now
            grown.begin()

    valid()
    broken()
    valid()
    report = Report(
        statuses.total(), dict(statuses), grown.grown(), grown.last, time.monotonic() - began
    )
    print(report)  # pytest -rP shows it
    assert report.requests >= EXAMPLES
    assert report.grown < grown.most, report
    return report


class Process:
    """A server by its process: allocators keep what they had once, so it is measured coarsely."""

    most = 24 << 20
    last = EXAMPLES // 2

    def __init__(self, pid: int) -> None:
        self._pid, self._before = pid, 0

    def begin(self) -> None:
        self._before = resident(self._pid)

    def grown(self) -> int:
        return resident(self._pid) - self._before


class Apart:
    """`apart(*args)` is `make(*given)(*args)`, made and called in a process of its own.

    Nothing is allocated there but by the call: what is held longer than its answer shows.
    """

    # Over 1000 requests: the free lists of the interpreter were seen to take up to 30,000, and no
    # more when there were five times as many.
    most = 100_000
    last = LAST

    def __init__(self, make: Callable[..., Callable[..., Any]], *given: Any) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would bring all that is here
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_apart, args=(there, make, given), daemon=True)
        self._process.start()
        there.close()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(30)
        assert self._process.exitcode == 0

    def __call__(self, *args: Any) -> Any:
        return self._told(args)

    def begin(self) -> None:
        self._told("begin")

    def grown(self) -> int:
        return self._told("grown")

    def _told(self, what: Any) -> Any:
        self._pipe.send(what)
        found = self._pipe.recv()
        if isinstance(found, Exception):
            raise found
        return found


def _apart(pipe: Connection, make: Callable[..., Callable[..., Any]], given: Any) -> None:
    """Answer what comes, until nobody asks any more."""
    answer = make(*given)
    while True:
        try:
            what = pipe.recv()
        except EOFError:
            return
        if what == "begin":
            tracemalloc.start()  # which makes all of it four times as slow
            what = found = None
        elif what == "grown":
            gc.collect()
            found = tracemalloc.get_traced_memory()[0]
        else:
            try:
                found = answer(*what)
            except Exception as error:
                found = RuntimeError(f"{type(error).__name__}: {error}")
        pipe.send(found)
        what = found = None  # neither is held while the next is waited for


def resident(pid: int) -> int:
    """Bytes in memory of a process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident, map(int, children)))
