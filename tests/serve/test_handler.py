"""A handler is a pure function of bytes: forms, sizes, texts, refusals."""

from __future__ import annotations

import builtins
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import ADDRESS, PRED, Bundle, Engine, doubling, dtype, handler, pack, unpack
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from serve.arrays import Array
from serve.body.forms import JSON, MSGPACK, NPY, OCTETS, TEXT, accepted
from serve.errors import BundleError, RequestError
from serve.handler import Handler


def typed(name: str, *dims: int | str) -> dict[str, Any]:
    return {"array": [name, list(dims)]}


def refused(function: Handler, *request: Any) -> str:
    with pytest.raises(RequestError) as caught:
        function(*request)
    return f"{caught.value.status} {caught.value}"


# Batches and sizes


@given(st.integers(1, 30), st.sets(st.integers(1, 9), min_size=1))
def test_any_batch_is_its_rows_one_by_one(rows: int, sizes: set[int]) -> None:
    two = typed("float32", "b", 3)
    bundle = Bundle(two, typed("float32", "b"), {"b": sorted(sizes)})
    function = handler(bundle, lambda x: [(x * [1, 10, 100]).sum(axis=1).astype("float32")])
    x = np.arange(rows * 3).reshape(rows, 3).tolist()
    together = json.loads(function(json.dumps(x).encode()))
    alone = [json.loads(function(json.dumps([row]).encode()))[0] for row in x]
    assert together == alone == [a + 10 * b + 100 * c for a, b, c in x]


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 3))
def test_every_named_dimension_is_padded_and_cut_back(b: int, t: int, k: int) -> None:
    of = {
        "dict": {
            "x": typed("int16", "t", "b", 2),  # the batch need not come first
            "w": typed("int16", "k"),
        }
    }
    out = {"tuple": [typed("int16", "b", "t"), typed("int16", "k", "b")]}
    bundle = Bundle(of, out, {"b": [1, 2, 7], "t": [3, 6], "k": [3]}, padded=["t", "k"])
    function = handler(bundle, lambda w, x: [x.sum(axis=2).T, w[:, None] + x.sum(axis=(0, 2))])
    x = np.arange(t * b * 2, dtype="int16").reshape(t, b, 2)
    w = np.arange(k, dtype="int16")
    body = json.dumps({"x": x.tolist(), "w": w.tolist()}).encode()
    rows, sums = json.loads(function(body))
    assert rows == x.sum(axis=2).T.tolist()
    assert sums == (w[:, None] + x.sum(axis=(0, 2))).tolist()


def test_the_smallest_sufficient_programs_run() -> None:
    two = typed("float32", "b", 2)
    bundle = Bundle(two, two, {"b": [1, 4, 8]})
    engine = Engine(bundle, lambda x: [x])
    for rows, programs in [
        (1, [0]),
        (2, [1]),
        (4, [1]),
        (5, [2]),
        (21, [2, 2, 2]),
        (17, [2, 2, 0]),
    ]:
        engine.calls.clear()
        Handler(bundle, engine)(json.dumps([[0, 0]] * rows).encode())
        assert engine.calls == programs


def test_a_batch_has_from_1_to_65536_rows() -> None:
    two = typed("uint8", "b")
    function = handler(Bundle(two, two, {"b": [4096]}), lambda x: [x])
    assert len(json.loads(function(b"[" + b"1," * 65535 + b"1]"))) == 65536
    assert refused(function, b"[" + b"1," * 65536 + b"1]") == (
        "400 input: expected b from 1 to 65536 in uint8[b], got 65537"
    )
    assert refused(function, b"[]") == "400 input: expected b from 1 to 65536 in uint8[b], got 0"


def test_what_padding_would_change_is_refused() -> None:
    one = typed("float32", "b")
    twice = handler(
        Bundle(one, typed("float32", "2*b"), {"b": [2, 4]}), lambda x: [np.concatenate([x, x])]
    )
    assert twice(b"[1,2]") == b"[1,2,1,2]"
    message = (
        "400 input: expected b to be one of 2, 4 in float32[b], got 3: "
        "the model can not be padded along b"
    )
    assert refused(twice, b"[1,2,3]") == message
    assert refused(twice, b"[1,2,3,4,5,6,7,8]").startswith("400 input: expected b to be one of")
    mean = handler(Bundle(one, typed("float32"), {"b": [2, 4]}), lambda x: [x.mean()])
    assert mean(b"[1,2]") == b"1.5"
    assert refused(mean, b"[1,2,3]") == message


def test_only_the_batch_is_padded_unless_the_bundle_says_so() -> None:
    rows = typed("float32", "b", "t")
    share = [lambda x: [x / x.shape[1]], lambda x: [x.mean(axis=1)]]
    sizes = {"b": [4], "t": [2, 8]}
    for out, function in zip((rows, typed("float32", "b")), share, strict=True):
        exact = handler(Bundle(rows, out, sizes), function)
        assert json.loads(exact(b"[[3, 5]]")) in ([[1.5, 2.5]], [4])
        assert refused(exact, b"[[3, 5, 7]]") == (
            "400 input: expected t to be one of 2, 8 in float32[b, t], got 3: "
            "the model can not be padded along t"
        )
    last = handler(Bundle(rows, rows, sizes, padded=["t"]), lambda x: [x * 2])
    assert last(b"[[3, 5, 7]]") == b"[[6,10,14]]"


def test_a_model_without_named_dimensions() -> None:
    bundle = Bundle(typed("float32"), typed("float32", 2), example=1.0)
    function = handler(bundle, lambda x: [np.stack([x, -x])])
    assert function(b"1.5") == b"[1.5,-1.5]"


IDS = {"dict": {"ids": typed("int32", "b", "t"), "keep": typed("bool", "b", "t")}}


def counting() -> Handler:
    bundle = Bundle(IDS, typed("int32", "b"), {"b": [1, 4], "t": [8]}, example={}, padded=["t"])
    return handler(bundle, lambda ids, keep: [(ids * keep).sum(axis=1, dtype="int32")])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"ids": [[1, 2]], "keep": [[True]]},
            '400 input["keep"]: expected t to be 2 in bool[b, t], as in input["ids"], got 1',
        ),
        (
            {"ids": [[1]] * 2, "keep": [[True]] * 3},
            '400 input["keep"]: expected b to be 2 in bool[b, t], as in input["ids"], got 3',
        ),
        (
            {"ids": [[1] * 9], "keep": [[True] * 9]},
            '400 input["ids"]: expected t from 1 to 8 in int32[b, t], got 9',
        ),
        (
            {"ids": [[]], "keep": [[]]},
            '400 input["ids"]: expected t from 1 to 8 in int32[b, t], got 0',
        ),
    ],
)
def test_dimensions_agree(body: Any, message: str) -> None:
    assert refused(counting(), json.dumps(body).encode()) == message


def test_run_takes_and_checks_arrays() -> None:
    run = doubling().run
    data = np.array([[1, 2]], "float32").tobytes()
    twice = np.array([[2, 4]], "float32").tobytes()
    assert run([Array("float32", (1, 2), data)]) == [Array("float32", (1, 2), twice)]
    for wrong, message in [
        ([], "expected 1 arrays, got 0"),
        ([Array("float32", (2,), data)], "input: expected float32[b, 2], got float32 with 1 dim"),
        ([Array("int32", (1, 2), data)], "input: expected float32[b, 2], got int32 with 2 dim"),
        ([Array("float32", (2, 1), data)], "input: expected float32[b, 2], got float32[2, 1]"),
        ([Array("float32", (2, 2), data)], "input: expected 16 bytes for float32[2, 2], got 8"),
    ]:
        with pytest.raises(RequestError) as caught:
            run(wrong)
        assert str(caught.value).startswith(message)


# Messages, forms, limits


def test_who_pred_and_succ() -> None:
    function = doubling()
    assert function("who") == ADDRESS
    assert function("pred") == PRED
    assert refused(function, "succ").startswith("404 no successor is known here: a version is ")
    message = '400 expected the message "who", "pred" or "succ", or a request as bytes'
    assert refused(function, "what") == message


def test_describe_tells_a_stranger_enough_to_call() -> None:
    function = doubling()
    found = json.loads(json.dumps(function.describe()))
    assert found["name"] == "memory"
    assert found["address"] == ADDRESS
    assert found["input"] == found["output"] == "float32[b, 2]"
    assert found["types"]["input"] == typed("float32", "b", 2)
    assert found["sizes"] == {"b": [1, 4]}
    assert found["example"] == [[1.0, 2.0]]
    assert found["runtime"] == {"way": "memory", "why": "a test", "notes": ["a note"]}
    assert found["content_types"] == {
        "request": [JSON, MSGPACK, NPY, OCTETS],
        "answer": [JSON, MSGPACK, NPY, OCTETS],
    }
    body = found["request"]["body"].encode()
    assert function(body, found["request"]["content_type"]) == b"[[2,4]]"


def test_an_answer_comes_in_the_form_of_the_request_or_the_one_asked_for() -> None:
    function = doubling()
    tree = {"dtype": "float32", "shape": [1, 2], "data": np.array([1, 2], "<f4").tobytes()}
    body = pack(tree)
    answer, form = function.answer(body, MSGPACK)
    assert form == MSGPACK
    assert unpack(answer) == tree | {"data": np.array([2, 4], "<f4").tobytes()}
    assert function.answer(body, MSGPACK, JSON) == (b"[[2,4]]", JSON)
    npy, form = function.answer(b"[[1,2]]", JSON, NPY)
    assert form == NPY
    assert function.answer(npy, NPY, "application/json;q=0.9, */*;q=0.1") == (b"[[4,8]]", JSON)
    assert function.answer(npy, NPY)[1] == NPY
    assert function.answer(b"[[1,2]]", "Application/JSON; charset=utf-8", "*/*")[1] == JSON
    assert function.answer(b"[[1,2]]", None)[1] == JSON


def test_npy_falls_back_to_msgpack_where_the_output_is_not_one_array() -> None:
    one = typed("float32", 2)
    function = handler(Bundle(one, {"tuple": [one, one]}), lambda x: [x, x])
    npy, _ = doubling().answer(b"[[1,2]]", JSON, NPY)
    npy = npy.replace(b"(1, 2), }", b"(2,), }  ")
    assert function.answer(npy, NPY)[1] == MSGPACK
    assert refused(function, b"[1,2]", JSON, NPY) == (
        "406 expected Accept to name application/json or application/msgpack or "
        'application/octet-stream, got "application/x-npy"'
    )


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (MSGPACK, MSGPACK),
        ("text/html, application/msgpack", MSGPACK),
        ("application/json;q=0.1, application/msgpack;q=0.2", MSGPACK),
        ("application/json;q=0, */*", MSGPACK),
        ("application/msgpack;q=nonsense", MSGPACK),
        ("application/json;q=0", None),
        ("text/html", None),
        (";;,,=", None),
    ],
)
def test_accept(accept: str | None, form: str | None) -> None:
    if form is None:
        with pytest.raises(RequestError, match="expected Accept to name"):
            accepted(accept, [JSON, MSGPACK])
    else:
        assert accepted(accept, [JSON, MSGPACK]) == form


def test_limits_and_unknown_forms() -> None:
    function = doubling(max_bytes=20)
    assert refused(function, b"[[1,2],[3,4],[5,6],[7,8]]") == (
        "413 expected at most 20 bytes, got 25: send fewer rows"
    )
    assert refused(function, b"[[1,2]]", "text/plain") == (
        "415 expected the content type application/json or application/msgpack or "
        'application/x-npy or application/octet-stream, got "text/plain"'
    )
    assert refused(function, b"") == (
        "400 the request is empty: expected float32[b, 2], such as [[1.0, 2.0]]"
    )


@given(
    st.binary(max_size=200) | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: json.dumps(value).encode()),
    st.text(max_size=20) | st.sampled_from([JSON, MSGPACK, NPY, None]),
    st.text(max_size=20) | st.sampled_from([JSON, NPY, None]),
)  # fmt: skip
def test_every_broken_request_is_a_request_error(
    body: bytes, content_type: str | None, accept: str | None
) -> None:
    for function in (doubling(), counting()):
        try:
            function(body, content_type, accept)
        except RequestError as error:
            assert 400 <= error.status < 500


def test_the_same_request_has_the_same_answer_from_any_thread() -> None:
    function = doubling()
    bodies = [json.dumps([[i, j] for j in range(i % 9 + 1)]).encode() for i in range(40)]
    expected = [function(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(function, bodies)) == expected


# Text

ENTRY = {
    "tokenizer": {"path": "files/0"},
    "batch": "b",
    "length": "t",
    "ids": ["ids"],
    "mask": ["keep"],
    "max_length": 6,
}


def tokenizer() -> bytes:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *["the", "cat", "sat", "on", "a", "mat"]]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_truncation(3)  # as many do; the bundle says otherwise
    made.enable_padding(length=128)
    return made.to_str().encode()


def reading(
    ids: str = "int32", mask: str = "bool", seen: list[Any] | None = None, **entry: Any
) -> Handler:
    of = {"dict": {"ids": typed(ids, "b", "t"), "keep": typed(mask, "b", "t")}}
    bundle = Bundle(
        of, typed("int32", "b"), {"b": [1, 4], "t": [8]}, text=ENTRY | entry, tokenizer=tokenizer()
    )

    def count(ids: np.ndarray, keep: np.ndarray) -> list[np.ndarray]:
        if seen is not None:
            seen.append((ids, keep))
        return [(ids * keep).sum(axis=1).astype("int32")]

    return handler(bundle, count)


def test_texts_are_cut_and_padded_to_the_longest() -> None:
    seen: list[Any] = []
    function = reading(seen=seen)
    assert function(b'{"text": ["the cat", "a cat sat on a mat", "dog"]}') == b"[14,31,6]"
    ((ids, keep),) = seen
    assert ids.tolist()[:3] == [
        [2, 4, 5, 3, 0, 0, 0, 0],
        [2, 8, 5, 6, 7, 3, 0, 0],  # six tokens, the special ones counted
        [2, 1, 3, 0, 0, 0, 0, 0],
    ]
    assert keep.tolist() == (ids != 0).tolist()
    assert function(b'{"text": "the cat"}') == b"[14]"
    assert function(b"the cat", TEXT) == b"[14]"
    assert function(b"the cat", "text/plain; charset=utf-8", MSGPACK) == function(
        pack({"text": "the cat"}), MSGPACK
    )
    assert function(b'{"ids": [[2, 4]], "keep": [[true, true]]}') == b"[6]"
    assert TEXT in function.describe()["content_types"]["request"]


def test_a_model_may_do_without_a_mask() -> None:
    of = typed("int32", "b", "t")
    entry = ENTRY | {"ids": [], "mask": None}
    bundle = Bundle(of, of, {"b": [2], "t": [8]}, text=entry, tokenizer=tokenizer())
    assert refused(handler(bundle, lambda ids: [ids]), b"the cat", TEXT) == (
        "400 input: expected t to be one of 8 in int32[b, t], got 4: "
        "the model can not be padded along t"
    )
    bundle.padded = ["t"]
    assert handler(bundle, lambda ids: [ids])(b"the cat", TEXT) == b"[[2,4,5,3]]"


@pytest.mark.parametrize(("ids", "mask"), [("int64", "float32"), ("uint16", "bfloat16")])
def test_tokens_have_the_dtypes_of_their_leaves(ids: str, mask: str) -> None:
    seen: list[Any] = []
    reading(ids, mask, seen=seen)(b"the cat", TEXT)
    ((found, keep),) = seen
    assert (found.dtype, keep.dtype) == (dtype(ids), dtype(mask))
    assert keep.astype("int32").tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]


def test_a_tokenizer_without_special_tokens_still_makes_one_column() -> None:
    made = json.loads(tokenizer())
    made["post_processor"] = None
    bundle = reading().bundle
    bundle.tokenizer = json.dumps(made).encode()
    function = handler(bundle, lambda ids, keep: [keep.sum(axis=1).astype("int32")])
    assert function(b'{"text": ["", "the cat"]}') == b"[0,2]"
    assert function(b'{"text": ""}') == b"[0]"


@pytest.mark.parametrize(
    ("body", "form", "message"),
    [
        ({"text": []}, JSON, '400 input["text"]: expected from 1 to 65536 texts, got a list of 0'),
        ({"text": ["a", 1]}, JSON, '400 input["text"][1]: expected a text, got 1'),
        ({"text": None}, JSON, '400 input["text"]: expected a text, got null'),
        (
            {"text": "\ud800"},
            JSON,
            '400 input["text"]: expected Unicode text, got half of a surrogate pair',
        ),
        (b"\xff", TEXT, "400 the request is not UTF-8: invalid start byte"),
        (b"", TEXT, "400 the request is empty: expected "),
        (
            {"text": "a", "ids": []},
            JSON,
            '400 input: "keep" is missing, expected {"ids": int32[b, t], "keep": bool[b, t]}',
        ),
    ],
)
def test_wrong_texts(body: Any, form: str, message: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert refused(reading(), raw, form).startswith(message)


@given(st.text() | st.binary())
def test_any_text_at_all_is_answered_or_refused(text: str | bytes) -> None:
    function = reading()
    body = text if isinstance(text, bytes) else json.dumps({"text": text}).encode()
    try:
        function(body, TEXT if isinstance(text, bytes) else JSON)
    except RequestError as error:
        assert error.status == 400


def test_a_bundle_whose_text_does_not_fit_its_input_is_refused() -> None:
    with pytest.raises(BundleError) as caught:
        reading(batch="n")
    assert str(caught.value) == (
        "text makes ['ids'] and ['keep'] of shape [n, t], but input[\"ids\"] is int32[b, t]"
    )
    with pytest.raises(BundleError, match="the tokenizer of the bundle can not be read"):
        bundle = reading().bundle
        bundle.tokenizer = b"{}"
        handler(bundle, lambda ids, keep: [])


def test_without_tokenizers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "tokenizers":
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.delitem(sys.modules, "tokenizers")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BundleError, match=r'install it, or "lamda\[text\]"'):
        reading()
