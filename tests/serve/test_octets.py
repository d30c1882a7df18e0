"""Raw binary: bytes in, bytes out, sizes told by the length or by the content type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import Bundle, doubling, dtype, handler

from serve.arrays import FORMATS, Array
from serve.body.forms import JSON, OCTETS, parameters
from serve.body.octets import content_type, from_octets, to_octets
from serve.errors import RequestError
from serve.types import leaves


def typed(name: str, *dims: int | str) -> dict[str, Any]:
    return {"array": [name, list(dims)]}


def refused(body: bytes, given: dict[str, str], of: dict[str, Any]) -> str:
    with pytest.raises(RequestError) as caught:
        from_octets(body, given, of)
    assert caught.value.status == 400
    return str(caught.value)


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(
        st.tuples(
            st.sampled_from(list(FORMATS)), st.lists(st.sampled_from(["b", "t", 2, 3]), max_size=3)
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_what_an_answer_says_is_what_a_request_is_read_by(
    b: int, t: int, parts: list[tuple[str, list[int | str]]]
) -> None:
    of = {"tuple": [typed(name, *dims) for name, dims in parts]}
    arrays = []
    for leaf in leaves(of):
        shape = tuple({"b": b, "t": t}.get(d, d) for d in leaf.dims)
        count = int(np.prod(shape))
        arrays.append(
            Array(leaf.dtype, shape, np.arange(count).astype(dtype(leaf.dtype)).tobytes())
        )
    arrays = [
        Array(a.dtype, a.shape, a.data if a.dtype != "bool" else bytes(len(a.data))) for a in arrays
    ]
    said = content_type(arrays, of)
    assert from_octets(to_octets(arrays), parameters(said), of) == arrays


def test_the_length_tells_the_one_size_that_is_not_given() -> None:
    of = {"dict": {"x": typed("int16", "b", "t"), "y": typed("float32", 3)}}
    body = bytes(12 + 2 * 2 * 5)
    for given_sizes in ({"b": "2"}, {"t": "5"}, {"b": "2", "t": "5"}):
        x, y = from_octets(body, given_sizes, of)
        assert (x.shape, y.shape) == ((2, 5), (3,))
    assert refused(body, {}, of) == (
        "expected sizes that the length does not tell, Content-Type: application/octet-stream; "
        'b=...; t=..., for {"x": int16[b, t], "y": float32[3]}'
    )
    assert refused(body + b"\0", {"b": "2"}, of) == (
        'expected 12 bytes and 4 for each of t in {"x": int16[b, t], "y": float32[3]}, got 33 bytes'
    )
    assert refused(b"1", {"b": "2"}, of).startswith("expected 12 bytes and 4 for each of t in")
    assert refused(body, {"b": "2", "t": "6"}, of).startswith("expected 36 bytes for")


def test_a_dimension_that_comes_twice_must_be_given() -> None:
    square = typed("int8", "n", "n")
    assert refused(bytes(9), {}, square).startswith("expected sizes that the length does not tell")
    assert from_octets(bytes(9), {"n": "3"}, square)[0].shape == (3, 3)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"c": "1"}, 'Content-Type: expected parameters that int8[b] names, got "c"'),
        ({"b": "-1"}, 'Content-Type: expected a whole number for b, got "-1"'),
        ({"b": "1" * 10}, 'Content-Type: expected a whole number for b, got "1111111111"'),
        ({"b": "٣"}, 'Content-Type: expected a whole number for b, got "٣"'),
        ({"b": "2"}, "expected 2 bytes for int8[b], got 3"),
        ({"b": "999999999"}, "expected 999999999 bytes for int8[b], got 3"),
    ],
)
def test_wrong_sizes(sizes: dict[str, str], message: str) -> None:
    assert refused(b"abc", sizes, typed("int8", "b")) == message


def test_without_named_dimensions_the_length_is_fixed() -> None:
    of = typed("bool", 2)
    assert from_octets(b"\0\1", {}, of)[0].data == b"\0\1"
    assert refused(b"\0\2", {}, of) == "input: expected bytes 0 and 1 for bool[2], got another"
    assert refused(b"\0", {}, of) == "expected 2 bytes for bool[2], got 1"
    wrong = refused(b"\0\1", {"b": "1"}, of)
    assert wrong == 'Content-Type: expected no parameters for bool[2], got "b"'


def test_a_handler_takes_and_gives_them() -> None:
    function = doubling()
    x = np.arange(6, dtype="<f4")
    twice = (x * 2).tobytes()
    assert function.answer(x.tobytes(), OCTETS) == (twice, "application/octet-stream; b=3")
    assert function.answer(x.tobytes(), "application/octet-stream; b=3", OCTETS)[0] == twice
    assert function.answer(x.tobytes(), OCTETS, JSON) == (b"[[0,2],[4,6],[8,10]]", JSON)
    assert function.answer(b"[[1,2]]", JSON, OCTETS)[0] == np.float32([2, 4]).tobytes()


def test_nan_and_infinity_pass_as_they_are_and_are_null_in_json() -> None:
    one = typed("float32", "b")
    function = handler(Bundle(one, one, {"b": [4]}), lambda x: [x])
    body = np.float32([np.nan, np.inf, -np.inf, 1]).tobytes()
    assert function.answer(body, OCTETS)[0] == body
    assert function.answer(body, OCTETS, JSON)[0] == b"[null,null,null,1]"


@given(st.binary(max_size=64), st.text(max_size=30), st.booleans())
def test_any_bytes_are_answered_or_refused(body: bytes, said: str, two: bool) -> None:
    of = typed("float16", "b", "t") if two else typed("float16", "b")
    function = handler(Bundle(of, of, {name: [4] for name in of["array"][1]}), lambda x: [x])
    try:
        function(body, f"{OCTETS};{said}")
    except RequestError as error:
        assert 400 <= error.status < 500
