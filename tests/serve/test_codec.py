"""Requests become arrays and arrays answers, exactly; numpy is the reference."""

from __future__ import annotations

import io
import json
import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from memory import dtype, pack, unpack

from serve.arrays import FORMATS, Array, fit, join, piece
from serve.body.codec import decode, encode
from serve.body.forms import JSON, MSGPACK, NPY
from serve.errors import RequestError
from serve.types import leaves, show

DTYPES = list(FORMATS)


def typed(name: str, *dims: int | str) -> dict[str, Any]:
    return {"array": [name, list(dims)]}


def type_of(a: np.ndarray) -> dict[str, Any]:
    return typed(a.dtype.name, *(f"d{i}" for i in range(a.ndim)))


def from_numpy(a: np.ndarray) -> Array:
    return Array(a.dtype.name, a.shape, a.tobytes())


def to_numpy(a: Array) -> np.ndarray:
    return np.frombuffer(a.data, dtype(a.dtype)).reshape(a.shape)


def same(a: np.ndarray, b: np.ndarray) -> None:
    """Equal, with every NaN equal to every other."""
    assert a.dtype == b.dtype
    if a.dtype == dtype("bfloat16"):  # numpy does not know that this one has NaNs
        a, b = a.astype("float32"), b.astype("float32")
    np.testing.assert_array_equal(a, b)


@st.composite
def arrays(draw: st.DrawFn, names: Any = DTYPES, side: int = 4, **elements: Any) -> np.ndarray:
    name = draw(st.sampled_from(names))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=side))
    drawn = "float32" if name == "bfloat16" else name
    more = elements if np.dtype(drawn).kind == "f" else {}
    with np.errstate(over="ignore"):
        return draw(hnp.arrays(drawn, shape, elements=more or None)).astype(dtype(name))


def all_finite(a: np.ndarray) -> bool:
    return bool(np.isfinite(a.astype("float64")).all())


finite = arrays(allow_nan=False, allow_infinity=False).filter(all_finite)
small = arrays(side=2, allow_nan=False, allow_infinity=False).filter(all_finite)


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> tuple[dict[str, Any], list[np.ndarray]]:
    """A type, and arrays that are its leaves."""
    kind = draw(st.sampled_from(["array", "tuple", "dict"] if depth else ["array"]))
    if kind == "array":
        a = draw(small)
        return type_of(a), [a]
    parts = draw(st.lists(values(depth=depth - 1), max_size=2))
    if kind == "tuple":
        return {"tuple": [t for t, _ in parts]}, [a for _, found in parts for a in found]
    keys = sorted(draw(st.lists(st.text(), min_size=len(parts), max_size=len(parts), unique=True)))
    named = dict(zip(keys, (t for t, _ in parts), strict=True))
    return {"dict": named}, [a for _, found in parts for a in found]


# Round trips


@given(finite)
def test_json_lists_become_the_array_that_numpy_makes_of_them(a: np.ndarray) -> None:
    assert decode(json.dumps(a.tolist()).encode(), JSON, type_of(a)) == [from_numpy(a)]


@given(arrays())
def test_a_json_answer_reads_back_exactly_and_null_where_not_finite(a: np.ndarray) -> None:
    text = encode([from_numpy(a)], JSON, type_of(a)).decode()
    nulls = json.loads(text, parse_constant=pytest.fail)
    back = np.array(nulls, object)
    back[np.vectorize(lambda x: x is None, otypes=[bool])(back)] = np.nan
    usual = np.where(np.isfinite(a.astype("float64")), a, np.nan) if a.dtype.kind in "fV" else a
    assert back.shape == a.shape
    same(back.astype(a.dtype), usual.astype(a.dtype))


@given(arrays())
def test_msgpack_arrays_keep_every_bit(a: np.ndarray) -> None:
    tree = {"dtype": a.dtype.name, "shape": list(a.shape), "data": a.tobytes()}
    assert decode(pack(tree), MSGPACK, type_of(a)) == [from_numpy(a)]
    assert unpack(encode([from_numpy(a)], MSGPACK, type_of(a))) == tree


@given(arrays())
def test_msgpack_lists_are_read_as_json_lists_are(a: np.ndarray) -> None:
    (found,) = decode(pack(a.tolist()), MSGPACK, type_of(a))
    same(to_numpy(found), a)


@given(arrays([name for name in DTYPES if name != "bfloat16"]))
def test_npy_is_what_numpy_reads_and_writes(a: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(a).reshape(a.shape))
    assert encode([from_numpy(a)], NPY, type_of(a)) == file.getvalue()
    assert decode(file.getvalue(), NPY, type_of(a)) == [from_numpy(a)]


def test_npy_version_2_and_bfloat16() -> None:
    a = np.arange(6, dtype="int32").reshape(2, 3)
    file = io.BytesIO()
    np.lib.format.write_array(file, a, version=(2, 0))
    assert decode(file.getvalue(), NPY, type_of(a)) == [from_numpy(a)]
    b = from_numpy(a.astype(dtype("bfloat16")))
    body = encode([b], NPY, typed("bfloat16", 2, 3))
    assert np.load(io.BytesIO(body)).tobytes() == b.data
    assert decode(body, NPY, typed("bfloat16", "n", "m")) == [b]


@given(values(), st.sampled_from([JSON, MSGPACK]))
def test_a_tree_answers_in_the_form_in_which_it_is_asked(
    value: tuple[dict[str, Any], list[np.ndarray]], form: str
) -> None:
    of, found = value
    body = encode([from_numpy(a) for a in found], form, of)
    for back, a in zip(decode(body, form, of), found, strict=True):
        same(to_numpy(back), a)


@given(
    st.sampled_from(["float16", "bfloat16", "float32"]),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
)
def test_numbers_round_to_the_nearest_of_the_dtype(name: str, numbers: list[float]) -> None:
    with np.errstate(over="ignore"):
        expected = np.array(numbers).astype(dtype(name))
    body = json.dumps(numbers).encode()
    if np.isfinite(expected.astype("float64")).all():
        assert decode(body, JSON, typed(name, "n")) == [from_numpy(expected)]
    else:
        with pytest.raises(RequestError, match=f"a number that {name} can hold"):
            decode(body, JSON, typed(name, "n"))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_half_and_every_tie_between_two(name: str) -> None:
    every = np.arange(1 << 16, dtype="uint16").view(dtype(name))
    every = every[np.isfinite(every.astype("float32"))]
    of = typed(name, "n")
    (back,) = decode(encode([from_numpy(every)], JSON, of), JSON, of)
    same(to_numpy(back), every)
    ascending = np.sort(every.astype("float64"))
    ties = (ascending[1:] + ascending[:-1]) / 2
    (rounded,) = decode(json.dumps(ties.tolist()).encode(), JSON, of)
    same(to_numpy(rounded), ties.astype(dtype(name)))


def test_a_float32_answer_is_short() -> None:
    a = np.array([0.1, 1, 1e-30, 16777217, -np.inf], "float32")
    assert encode([from_numpy(a)], JSON, type_of(a)) == b"[0.100000001,1,1e-30,16777216,null]"


def test_many_numbers_are_read_and_written_quickly() -> None:
    a = np.random.default_rng(0).normal(size=(4096, 64)).astype("float32")
    body = json.dumps(a.tolist()).encode()

    def best(call: Callable[[], Any]) -> float:
        return min(timeit.repeat(call, number=1, repeat=3))

    parse = best(lambda: json.loads(body))
    assert best(lambda: decode(body, JSON, type_of(a))) < 3 * parse
    assert best(lambda: encode([from_numpy(a)], JSON, type_of(a))) < 3 * parse


# Shapes


@given(arrays(), st.data())
def test_fit_is_the_common_corner_over_zeros(a: np.ndarray, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 5)) for _ in a.shape)
    expected = np.zeros(shape, a.dtype)
    corner = tuple(slice(min(m, n)) for m, n in zip(a.shape, shape, strict=True))
    expected[corner] = a[corner]
    assert fit(from_numpy(a), shape) == from_numpy(expected)


@given(arrays().filter(lambda a: a.ndim > 0), st.data())
def test_join_is_the_inverse_of_piece(a: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, a.ndim - 1))
    at = data.draw(st.integers(0, a.shape[axis]))
    whole = from_numpy(a)
    first, second = piece(whole, axis, 0, at), piece(whole, axis, at, a.shape[axis])
    same(to_numpy(first), np.split(a, [at], axis)[0])
    assert join([first, second], axis) == whole


# Refusals

MATRIX = typed("float32", "b", 2)
IDS = {"dict": {"ids": typed("int32", "b", "t"), "keep": typed("bool", "b")}}
PAIR = {"tuple": [typed("int8", "n"), typed("uint8")]}
HALF = typed("float16", "n")
DEEP = f"""{"[" * 100_000}{"]" * 100_000}"""

JSON_ERRORS = [
    (MATRIX, "[[1,2],[3]]", "input[1]: expected a list of 2 for float32[b, 2], got a list of 1"),
    (
        MATRIX,
        "[1,2]",
        "input[0]: expected a list, as float32[b, 2] is a list of lists of numbers, got 1",
    ),
    (MATRIX, '[[1,2],[3,"x"]]', 'input[1][1]: expected a number for float32[b, 2], got "x"'),
    (MATRIX, "[[[1],2]]", "input[0][0]: expected a number for float32[b, 2], got a list of 1"),
    (MATRIX, "[[true,2]]", "input[0][0]: expected a number for float32[b, 2], got true"),
    (MATRIX, "[[1,null]]", "input[0][1]: expected a number for float32[b, 2], got null"),
    (
        MATRIX,
        "[[1,1e39]]",
        "input[0][1]: expected a number that float32 can hold for float32[b, 2], got 1e+39",
    ),
    (
        MATRIX,
        "[[1,-1e999]]",
        "input[0][1]: expected a number that float32 can hold for float32[b, 2], "
        "got a number that is too large",
    ),
    (
        MATRIX,
        f"[[1,1{'0' * 400}]]",
        "input[0][1]: expected a number that float32 can hold for float32[b, 2], got 1"
        + "0" * 56
        + "...",
    ),
    (
        HALF,
        "[65520]",
        "input[0]: expected a number that float16 can hold for float16[n], got 65520",
    ),
    (
        typed("int8", "n"),
        "[1,300]",
        "input[1]: expected a whole number from -128 to 127 for int8[n], got 300",
    ),
    (
        typed("uint64", "n"),
        "[-1]",
        "input[0]: expected a whole number from 0 to 18446744073709551615 for uint64[n], got -1",
    ),
    (
        typed("int32", "n"),
        "[1,2.5]",
        "input[1]: expected a whole number for int32[n], got 2.5",
    ),
    (typed("int32"), "[1]", "input: expected a whole number for int32[], got a list of 1"),
    (typed("bool", "n"), "[1]", "input[0]: expected true or false for bool[n], got 1"),
    (
        IDS,
        '{"ids": [[1,2],[3]], "keep": [true]}',
        'input["ids"][1]: expected a list of 2 for int32[b, t] like the first, '
        "as all must be equally long, got a list of 1",
    ),
    (
        IDS,
        '{"ids": [[1,2],[3,"4"]], "keep": [true]}',
        'input["ids"][1][1]: expected a whole number for int32[b, t], got "4"',
    ),
    (
        IDS,
        '{"ids": [[1]]}',
        'input: "keep" is missing, expected {"ids": int32[b, t], "keep": bool[b]}',
    ),
    (
        IDS,
        '{"ids": [[1]], "keep": [true], "text": 1}',
        'input: "text" is unknown, expected {"ids": int32[b, t], "keep": bool[b]}',
    ),
    (
        IDS,
        "[[1]]",
        'input: expected an object, {"ids": int32[b, t], "keep": bool[b]}, got a list of 1',
    ),
    (PAIR, "[[1]]", "input: expected a list of 2, [int8[n], uint8[]], got a list of 1"),
    (PAIR, '{"0": 1}', "input: expected a list of 2, [int8[n], uint8[]], got an object with '0'"),
    (MATRIX, "[[NaN,1]]", "NaN is not JSON: expected a finite number"),
    (MATRIX, "[[-Infinity,1]]", "-Infinity is not JSON: expected a finite number"),
    (MATRIX, f"[[1{'1' * 5000},1]]", "a number in the request has too many digits"),
    (MATRIX, DEEP, "the request is nested too deeply"),
    (MATRIX, '{"a": 1, "a": 2}', 'the key "a" comes twice in one object'),
    (MATRIX, "[[1,2]", "the request is not JSON: Expecting ',' delimiter at line 1 column 7"),
    (MATRIX, "[[1,2]] x", "the request is not JSON: Extra data at line 1 column 9"),
]


@pytest.mark.parametrize(("of", "body", "message"), JSON_ERRORS)
def test_a_wrong_request_is_told_where_what_was_expected_and_what_came(
    of: dict[str, Any], body: str, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        decode(body.encode(), JSON, of)
    assert str(caught.value) == message
    assert caught.value.status == 400


def packed(**more: Any) -> bytes:
    return pack({"dtype": "float32", "shape": [1, 2], "data": bytes(8)} | more)


def saved(a: np.ndarray, **more: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, a, **more)
    return file.getvalue()


BINARY_ERRORS = [
    (MSGPACK, b"\xff\xc1", "the request is not msgpack: unpack(b) received extra data."),
    (MSGPACK, b"\x91", "the request is not msgpack: Unpack failed: incomplete input"),
    (MSGPACK, b"\x91" * 5000 + b"\x01", "the request is nested too deeply"),
    (MSGPACK, b"\xa1\xff", "the request is not UTF-8: invalid start byte"),
    (MSGPACK, packed(x=1), 'input: expected the keys "dtype", "shape" and "data", or lists, for'),
    (
        MSGPACK,
        packed(dtype="float64"),
        'input["dtype"]: expected "float32" for float32[b, 2], got "float64"',
    ),
    (
        MSGPACK,
        packed(shape=[1, -2]),
        'input["shape"]: expected a list of whole numbers for float32[b, 2], got a list of 2',
    ),
    (MSGPACK, packed(shape=[2]), "input: expected float32[b, 2], got float32 with 1 dimensions"),
    (MSGPACK, packed(data="12345678"), 'input["data"]: expected bytes for float32[b, 2], got "123'),
    (
        MSGPACK,
        packed(shape=[2**64 - 1, 2]),
        "input: expected 147573952589676412920 bytes for float32[18446744073709551615, 2], got 8",
    ),
    (NPY, b"PK\3\4", "expected a .npy file of version 1 or 2 that holds float32[b, 2]"),
    (NPY, b"\x93NUMPY\3\0" + bytes(8), "expected a .npy file of version 1 or 2 that holds"),
    (
        NPY,
        saved(np.zeros((1, 2))),
        'expected a .npy file of dtype "<f4" for float32[b, 2], got "<f8": '
        'save x.astype("float32")',
    ),
    (NPY, saved(np.zeros((1, 2), ">f4")), 'expected a .npy file of dtype "<f4" for float32[b, 2]'),
    (
        NPY,
        saved(np.array([None])),
        'expected a .npy file of dtype "<f4" for float32[b, 2], got "|O',
    ),
    (
        NPY,
        saved(np.zeros((2, 2), "float32", order="F")),
        "expected a .npy file in C order for float32[b, 2], got Fortran order: "
        "save numpy.ascontiguousarray(x)",
    ),
    (
        NPY,
        saved(np.zeros((3, 2), "float32"))[:-1],
        "input: expected 24 bytes for float32[3, 2], got 23 bytes",
    ),
    (
        NPY,
        saved(np.zeros((3, 2), "float32")).replace(b"(3, 2), }", b"(" + b"9" * 19 + b", 2), }")[
            :200
        ],
        "expected a .npy file with the header of one plain array for float32[b, 2]",
    ),
    (NPY, saved(np.zeros(3, [("x", "f4")])), "expected a .npy file with the header of one plain"),
]


@pytest.mark.parametrize(("form", "body", "message"), BINARY_ERRORS)
def test_a_wrong_binary_request_too(form: str, body: bytes, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(body, form, MATRIX)
    assert str(caught.value).startswith(message)


def test_bool_bytes_are_0_or_1() -> None:
    body = packed(dtype="bool", shape=[2], data=b"\1\2")
    with pytest.raises(RequestError, match=r"input: expected bytes 0 and 1 for bool\[n\], got"):
        decode(body, MSGPACK, typed("bool", "n"))


def test_npy_is_for_a_single_array() -> None:
    with pytest.raises(RequestError, match="is not a single array") as caught:
        decode(b"", NPY, PAIR)
    assert caught.value.status == 415


def test_lone_surrogates_and_byte_order_marks() -> None:
    with pytest.raises(RequestError, match="is unknown"):
        decode(rb'{"ids": 1, "keep": 2, "\ud800": 3}', JSON, IDS)
    assert decode(b"\xef\xbb\xbf[1]", JSON, HALF)[0].shape == (1,)


TYPES = [MATRIX, IDS, PAIR, HALF, typed("bool"), typed("bfloat16", "n", "m", "k")]

numbers = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.text()
junk = st.recursive(
    numbers,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["ids", "keep", "data", "x"]), inner)
    ),
    max_leaves=30,
)
npy_like = st.builds(
    lambda header, data: b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data,
    st.binary(max_size=80)
    | st.from_regex(
        rb"\{'descr': '[<|][fiOVb][1248]', 'fortran_order': False, 'shape': \([\d,]*\)\}"
    ),
    st.binary(max_size=40),
)


def only_request_errors(body: bytes, form: str, of: dict[str, Any]) -> None:
    try:
        found = decode(body, form, of)
    except RequestError as error:
        assert 400 <= error.status < 500
        json.dumps(str(error)).encode()
    else:
        for a, leaf in zip(found, leaves(of), strict=True):
            assert to_numpy(a).dtype.name == leaf.dtype


@given(st.binary() | npy_like, st.sampled_from([JSON, MSGPACK, NPY]), st.sampled_from(TYPES))
def test_whatever_the_bytes_only_a_request_error(body: bytes, form: str, of: Any) -> None:
    only_request_errors(body, form, of)


@given(junk, st.sampled_from(TYPES))
def test_whatever_the_value_only_a_request_error(value: Any, of: Any) -> None:
    only_request_errors(json.dumps(value).encode(), JSON, of)


@given(
    st.recursive(
        numbers | st.binary() | st.integers(0, 2**64 - 1),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text() | st.binary(), inner)
            | st.fixed_dictionaries(
                {"dtype": st.sampled_from(DTYPES), "shape": inner, "data": st.binary()}
            )
        ),
        max_leaves=20,
    ),
    st.sampled_from(TYPES),
)
def test_whatever_the_msgpack_only_a_request_error(value: Any, of: Any) -> None:
    try:
        body = pack(value)
    except OverflowError:  # msgpack has whole numbers of 64 bits
        return
    only_request_errors(body, MSGPACK, of)


def test_types_are_shown_in_a_line() -> None:
    assert show({"dict": {"b": PAIR, "a": MATRIX}}) == (
        '{"a": float32[b, 2], "b": [int8[n], uint8[]]}'
    )
    assert [leaf.where for leaf in leaves({"dict": {"b": PAIR, "a": MATRIX}})] == [
        'input["a"]',
        'input["b"][0]',
        'input["b"][1]',
    ]


def test_a_late_duplicate_among_many_keys_is_found_quickly() -> None:
    keys = ",".join(f'"{i}":0' for i in [*range(200_000), 199_999])
    start = time.perf_counter()
    with pytest.raises(RequestError, match='the key "199999" comes twice in one object'):
        decode(f"{{{keys}}}".encode(), JSON, MATRIX)
    assert time.perf_counter() - start < 5  # looking through all keys for each takes minutes
