"""Broken requests of the Open Inference Protocol, generated: REST by function, gRPC by a channel.

CAMPAIGN=10000 makes so many of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import campaign
import numpy as np
import pytest
from hypothesis import strategies as st
from memory import ADDRESS, forgetful
from v2_models import arrays, binary, every, flat, request, tensor, words

from serve.handler import Handler
from serve.http.routes import respond
from serve.v2.model import DATATYPES

INFER = "/v2/models/memory/infer"
LENGTH = "inference-header-content-length"
NAMES = ["input", "text", "ids", "mask", "one", *(f"each.{name}" for name in DATATYPES)]
KINDS = [*DATATYPES.values(), "BYTES", "FP8"]

MANY = st.integers(min_value=-3, max_value=9) | st.just(2**62)
PARAMETERS = st.fixed_dictionaries({}, optional={
    "binary_data_size": MANY | campaign.VALUES, "binary_data": campaign.VALUES,
    "binary_data_output": campaign.VALUES, "classification": campaign.VALUES,
    "sequence_id": campaign.VALUES,
}) | campaign.VALUES  # fmt: skip
TENSORS = st.fixed_dictionaries({}, optional={
    "name": st.sampled_from(NAMES) | campaign.VALUES,
    "datatype": st.sampled_from(KINDS) | campaign.VALUES,
    "shape": st.lists(MANY, max_size=3) | campaign.VALUES,
    "data": st.lists(campaign.NUMBERS | st.booleans() | st.text(max_size=5), max_size=6)
    | campaign.ROWS | campaign.VALUES,
    "parameters": PARAMETERS,
})  # fmt: skip
BODIES = st.fixed_dictionaries({}, optional={
    "id": st.text(max_size=5) | campaign.VALUES,
    "inputs": st.lists(TENSORS, max_size=3) | campaign.VALUES,
    "outputs": st.lists(TENSORS, max_size=2) | campaign.VALUES,
    "parameters": PARAMETERS,
})  # fmt: skip
PATHS = [INFER] * 9 + [
    "/v2", "/v2/health/live", "/v2/models/memory", f"/v2/models/memory/versions/{ADDRESS}/infer",
    "/v2/models/", "/v2/models//infer", "/v2/models/x/infer", "/v2/%00", "/v2/models/memory/ready",
]  # fmt: skip


def _rest(body: bytes, more: bytes, said: Any, path: str, method: str) -> campaign.Request:
    length = {True: len(body), False: None}.get(said, said)
    headers = {} if length is None else {LENGTH: str(length)}
    return campaign.Request(method, path, headers, body + more)


def _text(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


REST = st.builds(
    _rest, BODIES.map(_text) | campaign.BODIES, st.binary(max_size=40),
    st.booleans() | st.integers(-9, 99) | campaign.WORDS, st.sampled_from(PATHS),
    campaign.METHODS,
)  # fmt: skip


def answering(model: Callable[[], Handler]) -> Callable[..., Any]:
    return partial(respond, forgetful(model()))


@pytest.mark.parametrize("model", [every, words, flat])
def test_broken_requests_over_rest(model: Callable[[], Handler]) -> None:
    with campaign.Apart(answering, model) as apart:

        def ask(one: campaign.Request) -> int:
            status, headers, body = apart(*one)
            if LENGTH not in headers and one.method != "HEAD":
                assert set(json.loads(body)) == {"error"} or status == 200
            return status

        def valid() -> None:
            status, _, body = apart("POST", INFER, *_right(model))
            assert status == 200
            assert json.loads(body)["outputs"][-1]["data"] == [1.5 if model is every else 2]

        campaign.run(ask, valid, apart, REST)


def _right(model: Callable[[], Handler]) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a request that is right."""
    if model is words:
        text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["one two"]}
        return {}, request([text])
    return binary(arrays() if model is every else {"input": np.ones((1, 2), np.float32)})


CONTENTS = st.fixed_dictionaries({}, optional={
    "bool_contents": st.lists(st.booleans(), max_size=4),
    "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    "uint_contents": st.lists(st.integers(0, 2**32 - 1), max_size=4),
    "int64_contents": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    "fp32_contents": st.lists(st.floats(width=32), max_size=4),
    "fp64_contents": st.lists(st.floats(), max_size=4),
    "bytes_contents": st.lists(st.binary(max_size=4), max_size=4),
})  # fmt: skip
GIVEN = st.fixed_dictionaries({}, optional={
    "name": st.sampled_from(NAMES) | campaign.WORDS, "datatype": st.sampled_from(KINDS),
    "shape": st.lists(MANY, max_size=3), "contents": CONTENTS,
})  # fmt: skip
MESSAGES = st.fixed_dictionaries({"model_name": st.just("memory") | campaign.WORDS}, optional={
    "model_version": st.just(ADDRESS) | campaign.WORDS, "id": campaign.WORDS,
    "inputs": st.lists(GIVEN, max_size=3),
    "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(NAMES)}), max_size=2),
    "raw_input_contents": st.lists(st.binary(max_size=20), max_size=3),
})  # fmt: skip


def listening(model: Callable[[], Handler]) -> Callable[[], int]:
    from serve.v2.grpc import serving

    context = serving(model(), "127.0.0.1", 0)
    port = context.__enter__()
    return lambda _=context: port  # which lasts as long as the function


@pytest.mark.parametrize("model", [words, flat])
def test_broken_requests_over_grpc(model: Callable[[], Handler]) -> None:
    grpc = pytest.importorskip("grpc", reason='gRPC takes "lamda[grpc]"')
    from serve.v2 import messages
    from serve.v2.service import CODES

    made = messages.methods()["ModelInfer"][0]
    statuses = {code: status for status, code in CODES.items()}
    with (
        campaign.Apart(listening, model) as server,
        grpc.insecure_channel(f"127.0.0.1:{server()}") as channel,
    ):
        call = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")

        def ask(one: dict[str, Any] | bytes) -> int:
            body = one if isinstance(one, bytes) else made(**one).SerializeToString()
            try:
                call(body, timeout=20)
            except grpc.RpcError as error:
                return statuses[error.code()]
            return 200

        def valid() -> None:
            given = np.ones((1, 2), np.float32)
            one = tensor("input", given) | {"contents": {"fp32_contents": [1, 1]}}
            if model is words:
                one = {"name": "text", "datatype": "BYTES", "shape": [1],
                       "contents": {"bytes_contents": [b"one two"]}}  # fmt: skip
            assert ask({"model_name": "memory", "inputs": [one]}) == 200

        requests = MESSAGES | st.binary(max_size=60)
        campaign.run(ask, valid, server, requests)
