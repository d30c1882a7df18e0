"""The safety campaign against the handler itself and against `python -m serve`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import campaign
import httpx
import make
import numpy as np
import pytest
import tools
from campaign import Request
from hypothesis import strategies as st
from memory import doubling, forgetful
from test_image import file, seeing, typed
from test_openapi import reading

from serve.handler import Handler
from serve.http import respond

# What only these forms have: sizes, codings that are right, pictures that begin well.
PICTURE = file(np.zeros((2, 2, 3), np.uint8))
OWN = st.builds(
    Request,
    st.just("POST"),
    st.sampled_from(["/", "/", "/v2/models/memory/infer"]),
    st.fixed_dictionaries({}, optional={
        "content-type": st.sampled_from([
            "application/octet-stream", "application/octet-stream; b=1",
            "application/octet-stream; b=3; t=2", "image/png", "image/jpeg", "application/msgpack",
        ]),
        "content-encoding": st.sampled_from(["gzip", "deflate"]),
        "inference-header-content-length": st.integers(-1, 99).map(str),
        "x-request-id": campaign.WORDS, "if-none-match": st.just("*"),
    }),
    campaign.BODIES | st.builds(
        lambda at, data: PICTURE[:at] + data, st.integers(0, len(PICTURE)), st.binary(max_size=9)
    ),
)  # fmt: skip
ALL = campaign.REQUESTS | OWN


def pictures() -> Handler:
    return seeing(typed("uint8", "b", 2, 2, 3), mean=0, std=1)


def answering(make_: Callable[[], Handler]) -> Callable[..., Any]:
    return partial(respond, forgetful(make_()))


@pytest.mark.parametrize("make_", [doubling, reading, pictures])
def test_no_request_breaks_the_handler(make_: Callable[[], Handler]) -> None:
    with campaign.Apart(answering, make_) as apart:

        def ask(request: Request) -> int:
            status, headers, body = apart(*request)
            assert "content-type" in headers
            assert status in (200, 304) or body.startswith((b'{"error": "', b'{"error":"'))
            return status

        def valid() -> None:
            assert apart("GET", "/who", {}, b"")[0] == 200

        campaign.run(ask, valid, apart, ALL)


def test_no_request_breaks_the_server(tmp_path: os.PathLike[str]) -> None:
    directory, port = make.dense(tmp_path), tools.free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "serve", directory, "--port", str(port)],
        env=os.environ | {"PYTHONPATH": make.ROOT},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

            def ask(request: Request) -> int:
                answer = client.request(
                    request.method, request.path, headers=request.headers, content=request.body
                )
                return answer.status_code

            def valid() -> None:
                assert client.post("/", content=b"[[0,0,0]]").json() == [[1, -1]]

            campaign.run(ask, valid, campaign.Process(process.pid), ALL)
    finally:
        process.kill()
        process.communicate()
