"""Feedback: a request and its label, kept once, whole, and made rows of by ``lamda data add``."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from memory import Bundle, doubling, dtype, handler, pack
from safetensors.numpy import load
from streams import scanning
from test_aws_s3 import KEYS, server  # noqa: F401 - a real server of S3
from test_handler import reading, tokenizer
from test_http import serving

import lamda as lm
import serve
from lamda.cli import main
from serve import feedback
from serve.aws import client
from serve.errors import RequestError
from serve.handler import Handler
from serve.http import respond
from serve.http.openapi import document
from serve.wsgi import make_app

BODY = json.dumps({"request": [[1, 2.5]], "label": 1}).encode()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where feedback is kept, as the handler is told."""
    monkeypatch.setenv("LAMDA_FEEDBACK", str(tmp_path / "feedback"))
    return tmp_path / "feedback"


def typed(name: str, *dims: int | str) -> dict[str, Any]:
    return {"array": [name, list(dims)]}


def ask(
    body: Any, function: Handler | None = None, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, sent, said = respond(function or doubling(), "POST", "/feedback", named, raw)
    return status, json.loads(said), sent


def kept(folder: Path) -> list[dict[str, np.ndarray]]:
    """The records, each read by the library of the format, whose names are their digests."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        assert path.name == f"{hashlib.sha256(data).hexdigest()}.safetensors"
        found.append(load(data))
    return found


def recorded(function: Handler, request: Any, label: Any) -> dict[str, np.ndarray]:
    return load(
        feedback.record(function, json.dumps({"request": request, "label": label}).encode())
    )


# What is kept


def test_a_request_and_its_label_are_a_record(folder: Path) -> None:
    status, told, headers = ask(BODY)
    (found,) = kept(folder)
    assert status == 202 and headers["lamda-address"] == doubling().bundle.address
    assert told == {"record": f"sha256:{next(folder.iterdir()).stem}"}
    assert found["inputs"].tolist() == [[1, 2.5]] and found["inputs"].dtype == np.float32
    assert found["targets"].tolist() == [1] and found["targets"].dtype == np.int32


def test_what_is_sent_twice_is_kept_once(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda _: ask(BODY)[:2], range(40))]
    assert len({str(each) for each in answers}) == 1 and answers[0][0] == 202
    spaced = b' { "label" : 1 , "request" : [ [ 1.0 , 25e-1 ] ] } '
    packed = pack({"request": [[1.0, 2.5]], "label": 1})
    assert ask(spaced)[1] == answers[0][1]
    assert ask(packed, content_type="application/msgpack")[1] == answers[0][1]
    assert len(kept(folder)) == 1
    assert ask({"request": [[1, 2.5]], "label": 2})[1] != answers[0][1]
    assert len(kept(folder)) == 2


def test_the_model_is_not_run(folder: Path) -> None:
    def refuses(_: np.ndarray) -> Any:
        raise AssertionError("it was run")

    function = handler(Bundle(typed("float32", "b"), typed("float32", "b"), {"b": [1]}), refuses)
    assert ask({"request": [1], "label": 0}, function)[0] == 202


@pytest.mark.parametrize(
    ("label", "rows", "name", "value"),
    [
        (3, 1, "int32", [3]), (True, 1, "int32", [1]), (0.5, 1, "float32", [0.5]),
        ([1, False], 2, "int32", [1, 0]), ([1, 0.5, True], 3, "float32", [1, 0.5, 1]),
        ([[1, 0], [0, 1]], 2, "int32", [[1, 0], [0, 1]]), ([[[0.5]]], 1, "float32", [[[0.5]]]),
        (-(2**31), 1, "int32", [-(2**31)]),
    ],
)  # fmt: skip
def test_labels(label: Any, rows: int, name: str, value: Any) -> None:
    found = recorded(doubling(), [[1, 2]] * rows, label)["targets"]
    assert (found.dtype.name, found.tolist()) == (name, value)


@pytest.mark.parametrize(
    ("label", "rows", "said"),
    [
        ([1], 2, "label: expected a list of 2, a label for each row of the request, got a list"),
        (1, 2, "label: expected a list of 2, a label for each row of the request, got a list of 1"),
        ([1, 2], 1, "label: expected a list of 1"),
        ([[1, 2], [3]], 2, "label[1]: expected a list of 2"),
        ([[1], 2], 2, "label[1]: expected a list"),
        ([1, [2]], 2, "label[0]: expected a list"),
        (None, 1, "label: expected numbers, or nested lists of numbers, got null"),
        ("a", 1, "label: expected numbers, or nested lists of numbers, got \"a\""),
        ({}, 1, "label: expected numbers"),
        ([[]], 1, "label: expected numbers, or nested lists of numbers, got a list of 0"),
        (2**31, 1, "label[0]: expected a whole number from -2147483648 to 2147483647"),
        (1e39, 1, "label[0]: expected a number that float32 can hold"),
        ([[[[[[[[[1]]]]]]]]], 1, "label: expected numbers, or nested lists of numbers, got lists"),
    ],
)  # fmt: skip
def test_wrong_labels(folder: Path, label: Any, rows: int, said: str) -> None:
    status, told, _ = ask({"request": [[1, 2]] * rows, "label": label})
    assert status == 400 and told["error"].startswith(said)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ([1], 400, 'expected an object with the keys "request" and "label", got a list of 1'),
        ({"request": [[1, 2]]}, 400, "expected an object with the keys"),
        ({"request": [[1, 2]], "label": 1, "more": 1}, 400, "expected an object with the keys"),
        ({"request": [[1, 2, 3]], "label": 1}, 400, "input[0]: expected a list of 2"),
        ({"request": [["a", 2]], "label": 1}, 400, "input[0][0]: expected a number"),
        ({"request": [], "label": []}, 400, "input: expected b from 1 to"),
        (b"", 400, "the request is not JSON"),
        (b"{", 400, "the request is not JSON"),
        (b'{"request": [[NaN, 1]], "label": 1}', 400, "NaN is not JSON"),
        (b"[" * 100_000, 400, "the request is nested too deeply"),
        (b'{"request": [[1, 2]], "label": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}", 400, "label:"),
    ],
)
def test_wrong_requests_are_told_as_the_handler_tells_them(
    folder: Path, body: Any, status: int, said: str
) -> None:
    found, told, _ = ask(body)
    assert (found, told["error"][: len(said)]) == (status, said)
    assert not folder.exists()


def test_limits_and_methods(folder: Path) -> None:
    assert ask(BODY, doubling(max_bytes=len(BODY) - 1))[0] == 413
    assert ask(BODY, content_type="application/x-npy")[0] == 415
    status, sent, _ = respond(doubling(), "GET", "/feedback", {}, b"")
    assert status == 405 and sent["allow"] == "POST"
    assert not folder.exists()


def test_without_a_place_there_is_no_feedback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMDA_FEEDBACK", raising=False)
    status, told, _ = ask(BODY)
    assert status == 404 and "LAMDA_FEEDBACK" in told["error"]
    assert "/feedback" not in document(doubling())["paths"]


def test_texts_become_tokens_of_one_length(folder: Path) -> None:
    function = reading()
    for text, label in (("the cat", 0), (["a cat sat on a mat", "dog"], [1, 0])):
        assert ask({"request": {"text": text}, "label": label}, function)[0] == 202
    found = kept(folder)
    assert {each["targets"].size for each in found} == {1, 2}
    assert all({*each} == {"inputs/ids", "inputs/keep", "targets"} for each in found)
    widths = {array.shape[1:] for each in found for n, array in each.items() if n != "targets"}
    assert widths == {(8,)}


def test_a_dimension_that_is_not_padded_is_kept_as_it_came(folder: Path) -> None:
    of = typed("float32", "b", "t")
    bundle = Bundle(of, typed("float32", "b"), {"b": [1, 4], "t": [2, 4]})
    function = handler(bundle, lambda x: [x.sum(1)])
    assert ask({"request": [[1, 2]], "label": 0}, function)[0] == 202
    assert ask({"request": [[1, 2, 3]], "label": 0}, function)[0] == 400
    assert kept(folder)[0]["inputs"].shape == (1, 2)


def test_trees_are_named_by_their_paths() -> None:
    of = {"tuple": [typed("float32", "b", 2), {"dict": {"ids": typed("uint8", "b")}}]}
    function = handler(Bundle(of, typed("float32", "b"), {"b": [4]}), lambda x, _: [x[:, 0]])
    found = recorded(function, [[[1, 2], [3, 4]], {"ids": [5, 6]}], [0, 1])
    assert {*found} == {"inputs/0", "inputs/1/ids", "targets"}
    assert found["inputs/1/ids"].tolist() == [5, 6]


def test_a_model_without_a_batch_has_one_row() -> None:
    function = handler(Bundle(typed("float32", 3), typed("float32", 3)), lambda x: [x])
    found = recorded(function, [1, 2, 3], 7)
    assert found["inputs"].tolist() == [[1, 2, 3]] and found["targets"].tolist() == [7]


def test_models_that_have_no_rows_take_none(folder: Path) -> None:
    of = {"tuple": [typed("float32", "b"), typed("float32")]}
    shared = handler(Bundle(of, typed("float32", "b"), {"b": [4]}), lambda x, y: [x + y])
    status, told, _ = ask({"request": [[1], 2], "label": 0}, shared)
    assert status == 404 and "input[1] is float32[], which does not begin with b" in told["error"]
    status, told, _ = ask(BODY, scanning())
    assert status == 404 and "a model that streams" in told["error"]


@given(st.lists(st.sampled_from([*feedback.CODES]), min_size=1, max_size=5), st.integers(0, 3))
def test_the_library_of_the_format_reads_what_is_written(names: list[str], rows: int) -> None:
    arrays = {
        f"inputs/{i}": np.random.default_rng(i).integers(0, 2, (rows, i)).astype(dtype(name))
        for i, name in enumerate(names)
    }
    written = feedback.safetensors({
        name: feedback.Array(a.dtype.name, a.shape, a.tobytes()) for name, a in arrays.items()
    })  # fmt: skip
    assert int.from_bytes(written[:8], "little") % 64 == 56
    plain = {n: a for n, a in arrays.items() if a.dtype.name != "bfloat16"}
    if len(plain) == len(arrays):  # that library has no bfloat16 of NumPy
        found = load(written)
        assert all(
            np.array_equal(found[n], a) and found[n].dtype == a.dtype for n, a in plain.items()
        )


# Faults


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace", "makedirs"])
def test_where_the_disk_fails_the_client_may_send_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        status, told, headers = ask(BODY, x_request_id="mine")
    assert status == 503 and headers["retry-after"] == "1"
    assert told["error"] == (
        "the feedback could not be kept, and may be sent again: internal error, request mine"
    )
    assert os.strerror(code) in capfd.readouterr().err
    assert not folder.exists() or not [*folder.iterdir()]
    assert ask(BODY)[0] == 202 and len(kept(folder)) == 1


def test_a_record_is_whole_or_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        kind = "file" if stat.S_ISREG(os.fstat(descriptor).st_mode) else "folder"
        named = [p.name for p in folder.iterdir() if p.suffix == ".safetensors"]
        seen.append(f"{kind} {len(named)}")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert ask(BODY)[0] == 202
    assert seen == ["file 0", "folder 1"]


def test_a_record_that_was_cut_short_is_written_again(folder: Path) -> None:
    ask(BODY)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    ask(BODY)
    assert len(kept(folder)) == 1


@pytest.mark.parametrize("place", ["gs://bucket/x", "s3://", "s3:///prefix"])
def test_what_is_no_place_is_logged(
    monkeypatch: pytest.MonkeyPatch, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMDA_FEEDBACK", place)
    assert ask(BODY)[0] == 500
    said = f"LAMDA_FEEDBACK should be a directory or s3://BUCKET/PREFIX, found {place!r}"
    assert said in capfd.readouterr().err


# Over HTTP


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *_: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def by_wsgi(function: Handler) -> Iterator[str]:
    with make_server("127.0.0.1", 0, make_app(function), handler_class=Quiet) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()
            thread.join(10)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Handler:
    """A real bundle, loaded."""
    place = tmp_path_factory.mktemp("bundle") / "double"
    model = lm.lift(lambda x: x * 2, input="float32[b, 2]", name="double")
    lm.bundle(model, place, targets=())
    return serve.load(place)


@pytest.mark.parametrize("front", [by_wsgi, serving], ids=["wsgi", "asgi"])
def test_the_real_handler_over_http(
    served: Handler, folder: Path, front: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with front(served) as url, httpx.Client(base_url=url, timeout=20) as http:
        one = http.post("/feedback", content=BODY, headers={"content-type": "application/json"})
        assert (one.status_code, http.post("/feedback", json=json.loads(BODY)).json()) == (
            202, one.json(),
        )  # fmt: skip
        more = {"request": [[3, 4], [5, 6]], "label": [0, 1]}
        assert http.post("/feedback", json=more).status_code == 202
        assert http.post("/feedback", json={"request": [[3, 4]], "label": []}).status_code == 400
        large = {"request": [[0.5, 1.5]] * 60_000, "label": [0.5] * 60_000}
        assert http.post("/feedback", json=large).status_code == 202
        assert 'route="/feedback"' in http.get("/metrics").text
    there = str(tmp_path / "store")
    assert main(["data", "add", "labelled", str(folder), "--store", there]) == 0
    assert "added 60,003 rows" in capsys.readouterr().out
    data = lm.Store(there).data("labelled")
    inputs, targets = data.arrays()
    pairs = {tuple(x): y for x, y in zip(inputs.tolist(), targets.tolist(), strict=True)}
    assert pairs == {(1, 2.5): 1, (3, 4): 0, (5, 6): 1, (0.5, 1.5): 0.5}
    assert str(data.input) == "float32[n, 2]" and str(data.target) == "float32[n]"


def test_the_document_tells_of_it(folder: Path) -> None:
    told = document(doubling())["paths"]["/feedback"]["post"]
    schema = told["requestBody"]["content"]["application/json"]["schema"]
    assert {"202", "400", "413", "503"} <= {*told["responses"]}
    known = schema | {"components": document(doubling())["components"]}
    check = Draft202012Validator(known)
    assert check.is_valid(json.loads(BODY)) and not check.is_valid({"request": [[1, 2]]})


def test_records_go_to_a_bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    for place, prefix in (("s3://inputs/feed/back/", "feed/back/"), ("s3://inputs", "")):
        monkeypatch.setenv("LAMDA_FEEDBACK", place)
        status, told, _ = ask(BODY)
        assert status == 202 and ask(BODY)[1] == told
        name = told["record"].removeprefix("sha256:")
        _, data = client.ask("s3", "GET", f"{server}/inputs/{prefix}{name}.safetensors")
        assert hashlib.sha256(data).hexdigest() == name
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert ask(BODY)[0] == 503


# Rows of records


def add(store: Path, folder: Path) -> int:
    return main(["data", "add", "d", str(folder), "--store", str(store)])


def test_records_are_added_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(3):
        ask({"request": [[n, 0]], "label": n})
    assert add(tmp_path / "s", folder) == 0
    first = lm.Store(tmp_path / "s").data("d")
    assert len(first) == 3 and len(first.shards) == 1
    assert first.records == {path.stem for path in folder.iterdir()}
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*") if p.is_file()}
    capsys.readouterr()
    assert add(tmp_path / "s", folder) == 0
    assert capsys.readouterr().out == f"d: added nothing new; 3 rows, {first.address}\n"
    assert files == {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*") if p.is_file()}
    ask({"request": [[9, 0], [8, 0]], "label": [9, 8]})
    assert add(tmp_path / "s", folder) == 0
    more = lm.Store(tmp_path / "s").data("d")
    assert more.pred == first and len(more) == 5 and more.shards[1].count == 2
    assert {int(x[0]) for x in more.arrays()[0]} == {0, 1, 2, 8, 9}


def test_records_in_any_order_are_one_data_set(folder: Path, tmp_path: Path) -> None:
    for n in (2, 0, 1):
        ask({"request": [[n, 0]], "label": n})
    add(tmp_path / "a", folder)
    for path in sorted(folder.iterdir(), reverse=True):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    add(tmp_path / "b", folder)
    assert lm.Store(tmp_path / "a").data("d") == lm.Store(tmp_path / "b").data("d")


def test_whole_numbers_are_floating_where_other_labels_are(folder: Path, tmp_path: Path) -> None:
    ask({"request": [[0, 0]], "label": 3})
    ask({"request": [[0, 1]], "label": 2.5})
    assert add(tmp_path / "s", folder) == 0
    ask({"request": [[0, 2]], "label": 4})  # by itself it is whole
    assert add(tmp_path / "s", folder) == 0
    found = lm.Store(tmp_path / "s").data("d")
    assert str(found.target) == "float32[n]"
    assert sorted(found.arrays()[1].tolist()) == [2.5, 3, 4]


def broken(folder: Path, how: str) -> str:
    """Break the directory in some way; what is said of it then."""
    path = sorted(folder.glob("*.safetensors"))[0]
    if how == "bits":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "renamed":
        path.rename(folder / f"{'0' * 64}.safetensors")
    elif how == "other":
        (folder / "notes.txt").write_text("notes")
    elif how == "rows":
        data = feedback.safetensors({
            "inputs": feedback.Array("float32", (2, 2), b"\0" * 16),
            "targets": feedback.Array("int32", (1,), b"\0" * 4),
        })  # fmt: skip
        (folder / f"{hashlib.sha256(data).hexdigest()}.safetensors").write_bytes(data)
    else:
        data = feedback.record(
            handler(Bundle(typed("float32", "b"), typed("float32", "b"), {"b": [1]}), lambda x: x),
            b'{"request": [1], "label": 1}',
        )
        (folder / f"{hashlib.sha256(data).hexdigest()}.safetensors").write_bytes(data)
        return "records of one directory have rows of one type"
    return "is no record of feedback, whose name is the SHA-256 of its bytes"


@pytest.mark.parametrize("how", ["bits", "cut", "renamed", "other", "rows", "model"])
def test_what_is_no_record_is_told_and_changes_nothing(
    folder: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(3):
        ask({"request": [[n, 0]], "label": n})
    add(tmp_path / "s", folder)
    ask({"request": [[7, 0]], "label": 7})
    before = lm.Store(tmp_path / "s").refs()
    said = broken(folder, how)
    fresh = tmp_path / "fresh"
    assert add(fresh, folder) == 1
    assert said in capsys.readouterr().err and not lm.Store(fresh).refs()
    if how in ("other", "rows", "model"):
        assert add(tmp_path / "s", folder) == 1
        assert lm.Store(tmp_path / "s").refs() == before


def test_a_text_is_what_it_was_for_the_handler(folder: Path, tmp_path: Path) -> None:
    seen: list[Any] = []
    function = reading(seen=seen)
    function(b'{"text": ["the cat", "a cat sat on a mat"]}')
    ask({"request": {"text": ["the cat", "a cat sat on a mat"]}, "label": [0, 1]}, function)
    assert add(tmp_path / "s", folder) == 0
    inputs, _ = lm.Store(tmp_path / "s").data("d").arrays()
    ((ids, _),) = seen
    assert tokenizer() and inputs["ids"].tolist() == ids[:2].tolist()


def test_the_bytes_of_a_request_are_refused_where_they_are_no_object() -> None:
    with pytest.raises(RequestError, match='the keys "request" and "label"'):
        feedback.record(doubling(), b"3")
