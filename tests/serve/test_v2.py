"""The Open Inference Protocol over REST: its paths, its names, JSON and binary data."""

from __future__ import annotations

import json
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from memory import ADDRESS, Bundle, handler
from v2_models import arrays, binary, every, flat, request, tensor, typed, words

from serve.handler import Handler
from serve.http.routes import respond
from serve.v2.model import DATATYPES, names
from serve.watch import LOADING, READY

INFER = "/v2/models/memory/infer"
LENGTH = "inference-header-content-length"
GOOD = [{"name": "input", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4.5]}]


def get(model: Handler, path: str) -> tuple[int, Any]:
    status, _, body = respond(model, "GET", path, {}, b"")
    return status, json.loads(body)


def post(model: Handler, body: bytes, path: str = INFER, **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, more, answer = respond(model, "POST", path, named, body)
    if LENGTH in more:
        assert more["content-type"] == "application/octet-stream"
        return status, (json.loads(answer[: int(more[LENGTH])]), answer[int(more[LENGTH]) :])
    assert more["content-type"] == "application/json"
    return status, json.loads(answer)


def refused(model: Handler, body: bytes, **headers: str) -> str:
    """What is said of a request that is wrong."""
    status, answer = post(model, body, **headers)
    assert status == 400
    assert list(answer) == ["error"]
    return answer["error"]


def test_health_and_metadata() -> None:
    model = flat()
    assert get(model, "/v2/health/live") == (200, {"live": True})
    assert get(model, "/v2/health/ready") == (200, {"ready": True})
    for path in ("/v2", "/v2/"):
        status, server = get(model, path)
        assert (status, server["name"]) == (200, "lamda")
        assert server["extensions"] == ["binary_tensor_data"]
    about = {
        "name": "memory", "versions": [ADDRESS], "platform": "lamda_stablehlo",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1]}],
    }  # fmt: skip
    for path in ("/v2/models/memory", f"/v2/models/memory/versions/{ADDRESS}"):
        assert get(model, path) == (200, about)
        assert get(model, path + "/ready") == (200, {"name": "memory", "ready": True})
        assert post(model, request(GOOD), path + "/infer")[0] == 200


def test_ready_tells_of_the_programs() -> None:
    model = flat()
    model.watch.state = LOADING
    assert get(model, "/v2/health/live") == (200, {"live": True})
    assert get(model, "/v2/health/ready") == (503, {"ready": False})
    assert get(model, "/v2/models/memory/ready") == (503, {"name": "memory", "ready": False})
    model.watch.state = READY
    assert get(model, "/v2/health/ready") == (200, {"ready": True})


def test_what_is_not_there() -> None:
    model = flat()
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/memory/versions/1"):
        status, answer = get(model, path)
        assert status == 404
        assert answer["error"].startswith(("expected the model", "expected the version sha256:"))
    for path in ("/v2/models", "/v2/health", "/v2/repository/index", "/v2//"):
        assert get(model, path)[0] == 404
    status, headers, _ = respond(model, "GET", INFER, {}, b"")
    assert (status, headers["allow"]) == (405, "POST")
    status, headers, _ = respond(model, "POST", "/v2/health/live", {}, b"")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert respond(model, "HEAD", "/v2/models/memory", {}, b"")[2] == b""


def test_a_model_may_have_any_name() -> None:
    for name in ("a/b", "ready", "infer", "versions/1", "x y%20ü\n"):
        model = flat()
        model.bundle.name = name
        assert get(model, f"/v2/models/{name}")[1]["name"] == name
        assert get(model, f"/v2/models/{name}/ready") == (200, {"name": name, "ready": True})
        assert post(model, request(GOOD), f"/v2/models/{name}/infer")[0] == 200
        assert post(model, request(GOOD), f"/v2/models/{name}/versions/{ADDRESS}/infer")[0] == 200


def test_json_flat_or_nested_with_an_id_and_no_content_type() -> None:
    answer = {
        "model_name": "memory", "model_version": ADDRESS, "id": "7",
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [2], "data": [3, 7.5]}],
    }  # fmt: skip
    nested = [GOOD[0] | {"data": [[1, 2], [3, 4.5]]}]
    for inputs in (GOOD, nested):
        assert post(flat(), request(inputs, id="7")) == (200, answer)
        assert post(flat(), request(inputs, id="7"), content_type="text/plain") == (200, answer)
    del answer["id"]
    assert post(flat(), request(GOOD)) == (200, answer)


def test_names_are_paths() -> None:
    leaf = typed("float32")
    of = {"dict": {"a": {"dict": {"b": leaf}}, "a.b": leaf, "t": {"tuple": [leaf, leaf]}}}
    assert list(names(of, "input")) == ["a.b", "a\\.b", "t.0", "t.1"]
    assert list(names({"tuple": [leaf]}, "input")) == ["0"]
    assert list(names({"dict": {"": leaf}}, "input")) == [""]


def test_every_datatype_in_json() -> None:
    given = arrays()
    inputs = [tensor(name, a, data=a.ravel().tolist()) for name, a in given.items()]
    status, answer = post(every(), request(inputs))
    assert status == 200
    assert answer["outputs"] == [inputs[i] for i in range(len(inputs))]
    assert {one["datatype"] for one in answer["outputs"]} == set(DATATYPES.values())


def test_every_datatype_as_binary_data() -> None:
    given = arrays()
    headers, body = binary(given, parameters={"binary_data_output": True})
    status, _, answer = respond(every(), "POST", INFER, headers, body)
    assert status == 200
    assert answer[-len(body) + int(headers[LENGTH]) :] == body[int(headers[LENGTH]) :]


def test_outputs_by_name_each_in_its_own_form() -> None:
    given = arrays()
    headers, body = binary(given, outputs=[
        {"name": "each.int8", "parameters": {"binary_data": True}},
        {"name": "one"},
        {"name": "each.bfloat16", "parameters": {"binary_data": True}},
    ])  # fmt: skip
    status, (answer, data) = post(every(), body, **{LENGTH: headers[LENGTH]})
    assert status == 200
    assert answer["outputs"] == [
        tensor("each.int8", given["each.int8"], parameters={"binary_data_size": 8}),
        tensor("one", given["one"], data=[1.5]),
        tensor("each.bfloat16", given["each.bfloat16"], parameters={"binary_data_size": 16}),
    ]
    assert data == given["each.int8"].tobytes() + given["each.bfloat16"].tobytes()


def test_a_part_of_the_inputs_as_binary_data() -> None:
    given = arrays()
    text = request([
        tensor(name, a, parameters={"binary_data_size": a.nbytes}) if name == "each.int64"
        else tensor(name, a, data=a.tolist() if a.ndim else [a.item()])
        for name, a in given.items()
    ])  # fmt: skip
    data = given["each.int64"].tobytes()
    status, answer = post(every(), text + data, **{LENGTH: str(len(text))})
    assert status == 200
    assert answer["outputs"][5]["data"] == given["each.int64"].ravel().tolist()


def test_texts_are_bytes() -> None:
    model = words()
    text = [{"name": "text", "datatype": "BYTES", "shape": [2]}]
    assert get(model, "/v2/models/memory")[1]["inputs"] == [text[0] | {"shape": [-1]}]
    said = ["one two", "drei vier fünf"]
    status, answer = post(model, request([text[0] | {"data": said}]))
    assert (status, answer["outputs"][0]["data"]) == (200, [2, 3])
    parts = [len(one.encode()).to_bytes(4, "little") + one.encode() for one in said]
    data = b"".join(parts)
    json_ = request([text[0] | {"parameters": {"binary_data_size": len(data)}}])
    status, answer = post(model, json_ + data, **{LENGTH: str(len(json_))})
    assert (status, answer["outputs"][0]["data"]) == (200, [2, 3])
    given = {"ids": np.zeros((2, 3), np.int32), "mask": np.array([[1, 1, 0], [1, 0, 0]], bool)}
    headers, body = binary(given)
    assert post(model, body, **{LENGTH: headers[LENGTH]})[1]["outputs"][0]["data"] == [2, 1]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"datatype": "INT64"}, 'expected the datatype of "text" BYTES[n], got "INT64"'),
        ({"shape": [3]}, 'expected the shape of "text" BYTES[n] with 2 elements, got [3]'),
        ({"data": ["a", 1]}, 'input["text"][1]: expected a text, got 1'),
        ({"data": ["a", "\ud800"]},
         'input["text"][1]: expected Unicode text, got half of a surrogate pair'),
        ({"name": "ids"}, 'expected the inputs "text" BYTES[n], or "ids" INT32[b, t], '
                          '"mask" BOOL[b, t], each once, got "ids"'),
    ],
)  # fmt: skip
def test_what_is_no_text(change: dict[str, Any], error: str) -> None:
    text = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]} | change
    assert refused(words(), request([text])) == error


@pytest.mark.parametrize("data", [b"\1\0\0", b"\5\0\0\0a", b"\1\0\0\0\xff", b"\1\0\0\0aa"])
def test_what_is_no_binary_text(data: bytes) -> None:
    size = {"parameters": {"binary_data_size": len(data)}}
    text = request([{"name": "text", "datatype": "BYTES", "shape": [1], **size}])
    said = refused(words(), text + data, **{LENGTH: str(len(text))})
    assert said.startswith(('expected the length of each of "text"', 'expected UTF-8 in "text"'))


def test_pictures_are_bytes() -> None:
    """As they are in binary data, in base64 in JSON."""
    image = pytest.importorskip("PIL.Image", reason='pictures take "lamda[image]"')
    file = BytesIO()
    image.new("L", (2, 2), 7).save(file, "PNG")
    png = file.getvalue()
    of = typed("float32", "b", 2, 2)
    bundle = Bundle(of, of, {"b": [1, 4]})
    bundle.image = {"axes": "bhw", "fit": "stretch", "filter": "nearest", "mean": 0, "std": 1}
    model = handler(bundle, lambda x: [x])
    one = {"name": "image", "datatype": "BYTES", "shape": [1]}
    assert get(model, "/v2/models/memory")[1]["inputs"] == [one | {"shape": [-1]}]
    data = len(png).to_bytes(4, "little") + png
    text = request([one | {"parameters": {"binary_data_size": len(data)}}])
    assert post(model, text + data, **{LENGTH: str(len(text))})[1]["outputs"][0]["data"] == [7] * 4
    status, answer = post(model, request([one | {"data": [b64encode(png).decode()]}]))
    assert (status, answer["outputs"][0]["data"]) == (200, [7] * 4)
    assert refused(model, request([one | {"data": ["x"]}])) == (
        'input["image"][0]: expected a JPEG or PNG file, in base64, got "x"')  # fmt: skip


def test_numbers_that_are_not_finite() -> None:
    """The protocol's JSON has none of them, nor `null`: refused both ways. Binary data has all."""
    nan = json.dumps(GOOD[0] | {"data": [1, 2, 3, float("nan")]})
    said = refused(flat(), f'{{"inputs": [{nan}]}}'.encode())
    assert said == "NaN is not JSON: expected a finite number"
    given = {"input": np.array([[np.nan, 1], [np.inf, 1]], np.float32)}
    headers, body = binary(given)
    assert refused(flat(), body, **{LENGTH: headers[LENGTH]}) == (
        'the output "output" has a number that is not finite, which JSON can not say: expected a '
        'request for binary data, by the parameter "binary_data_output"')  # fmt: skip
    headers, body = binary(given, parameters={"binary_data_output": True})
    _, data = post(flat(), body, **{LENGTH: headers[LENGTH]})[1]
    assert str(np.frombuffer(data, "<f4")) == "[nan inf]"


def test_what_may_be_left_out_may_be_null() -> None:
    """Clients that make JSON of their own classes, MLServer's for one, leave out nothing."""
    nothing = {"id": None, "parameters": None, "outputs": None}
    inputs = [GOOD[0] | {"parameters": None}]
    status, answer = post(flat(), request(inputs, **nothing))
    assert (status, answer["outputs"][0]["data"]) == (200, [3, 7.5])
    assert "id" not in answer
    named = {"name": "output", "parameters": None}
    assert post(flat(), request(inputs, outputs=[named]))[0] == 200
    assert refused(flat(), request([GOOD[0] | {"data": None}])).startswith('expected "data" or')


def test_an_answer_has_a_tag() -> None:
    model = flat()
    _, headers, _ = respond(model, "POST", INFER, {}, request(GOOD))
    asked = {"if-none-match": headers["etag"]}
    calls = len(model.engine.calls)
    status, again, body = respond(model, "POST", INFER, asked, request(GOOD))
    assert (status, again["etag"], body) == (304, headers["etag"], b"")
    assert "content-length" not in again
    assert len(model.engine.calls) == calls
    assert respond(model, "POST", INFER, asked, request(GOOD, id="2"))[0] == 200


def changed(**change: Any) -> bytes:
    kept = {key: value for key, value in (GOOD[0] | change).items() if value is not ...}
    return request([kept])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "the request is not JSON: Expecting value at line 1 column 1"),
        (b"[]", "expected an object as the request, got a list of 0"),
        (b"{}", 'expected a list as "inputs", got null'),
        (request([]), 'expected the inputs "input" FP32[b, 2], each once, got none'),
        (request([*GOOD, *GOOD]),
         'expected the inputs "input" FP32[b, 2], each once, got "input", "input"'),
        (request([3]), "expected an object as an input, got 3"),
        (changed(name=3), 'expected a string as "name" of an input, got 3'),
        (changed(name="x"), 'expected the inputs "input" FP32[b, 2], each once, got "x"'),
        (changed(datatype="FP64"), 'expected the datatype of "input" FP32[b, 2], got "FP64"'),
        (changed(datatype=...), 'expected the datatype of "input" FP32[b, 2], got null'),
        (changed(shape=...),
         'expected a list of whole numbers as the shape of "input" FP32[b, 2]'),
        (changed(shape=[2, True]),
         'expected a list of whole numbers as the shape of "input" FP32[b, 2]'),
        (changed(shape=[2, -2]),
         'expected a list of whole numbers as the shape of "input" FP32[b, 2]'),
        (changed(shape=[4]), 'expected the shape of "input" FP32[b, 2], got [4]'),
        (changed(shape=[1, 4]), 'expected the shape of "input" FP32[b, 2], got [1, 4]'),
        (changed(shape=[1] * 999), 'expected the shape of "input" FP32[b, 2], got 999 dimensions'),
        (changed(shape=[3, 2]),
         'input["input"]: expected a list of 6 for float32[6], got a list of 4'),
        (changed(shape=[0, 2], data=[]),
         "input: expected b from 1 to 65536 in float32[b, 2], got 0"),
        (changed(data=[[1, 2], [3]]),
         'input["input"][1]: expected a list of 2 for float32[2, 2], got a list of 1'),
        (changed(data=[1, 2, 3, "4"]),
         'input["input"][3]: expected a number for float32[4], got "4"'),
        (changed(data=[1, 2, 3, 1e39]),
         'input["input"][3]: expected a number that float32 can hold for float32[4], got 1e+39'),
        (changed(data=3), 'expected a list as "data" of the input "input", got 3'),
        (changed(data=...),
         'expected "data" or the parameter "binary_data_size" in the input "input", got neither'),
        (changed(parameters={"binary_data_size": 8}),
         'expected "data" or the parameter "binary_data_size" in the input "input", got both'),
        (changed(data=..., parameters={"binary_data_size": 8}),
         'expected "binary_data_size" of the input "input" from 0 to 0, the bytes that are left '
         "after the JSON, as inference-header-content-length says, got 8"),
        (changed(parameters=[]),
         'expected an object as "parameters" of the input "input", got a list of 0'),
        (changed(parameters={"shared_memory_region": "x"}),
         'the parameter "shared_memory_region" is not supported: send the data in the request'),
        (request(GOOD, id=3), 'expected a string as "id" of the request, got 3'),
        (request(GOOD, outputs={}), 'expected a list as "outputs", got an object with no keys'),
        (request(GOOD, outputs=[{"name": "x"}]),
         'expected the outputs "output" FP32[b], got "x"'),
        (request(GOOD, outputs=[{"name": "output"}] * 2),
         'expected each output once, got "output" twice'),
        (request(GOOD, outputs=[{"name": "output", "parameters": {"classification": 2}}]),
         'the parameter "classification" is not supported: ask for the output, and rank it'),
        (request(GOOD, outputs=[{"name": "output", "parameters": {"binary_data": 1}}]),
         'expected true or false as the parameter "binary_data", got 1'),
        (request(GOOD, parameters={"sequence_id": 7}),
         'the parameter "sequence_id" is not supported: send the state as an input: nothing is '
         "kept between requests"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(body: bytes, error: str) -> None:
    assert refused(flat(), body) == error


def test_binary_data_has_the_length_that_is_said() -> None:
    given = {"input": np.ones((2, 2), np.float32)}
    headers, body = binary(given)
    length = headers[LENGTH]
    assert "after the JSON" in refused(flat(), body + b"\0", **{LENGTH: length})
    assert "from 0 to 15" in refused(flat(), body[:-1], **{LENGTH: length})
    assert "bytes of JSON" in refused(flat(), body, **{LENGTH: "1000"})
    for wrong in ("x", "-1", "", "²", "9" * 30):
        assert "expected a whole number as" in refused(flat(), body, **{LENGTH: wrong})
    short = request([tensor("input", np.ones((2, 2), np.float32),
                            parameters={"binary_data_size": 12})])  # fmt: skip
    said = refused(flat(), short + bytes(12), **{LENGTH: str(len(short))})
    assert said == 'input["input"]: expected 16 bytes for float32[2, 2], got 12 bytes'


def test_a_request_has_its_limits() -> None:
    status, answer = post(flat(max_bytes=100), request(GOOD, id="x" * 100))
    assert (status, answer["error"][:30]) == (413, "expected at most 100 bytes, go")
    huge = f"[{'9' * 4000},{'9' * 4000}]"
    text = request(GOOD).decode().replace("[2, 2]", huge).encode()
    assert "expected a list of whole numbers" in refused(flat(), text)


def test_an_error_of_ours_is_a_name(capfd: pytest.CaptureFixture[str]) -> None:
    def fails(x: np.ndarray) -> Any:
        raise RuntimeError("a secret")

    one = typed("float32", "b", 2)
    status, answer = post(handler(Bundle(one, one, {"b": [1, 4]}), fails), request(GOOD))
    assert status == 500
    assert answer["error"].startswith("internal error, request ")
    assert "a secret" in capfd.readouterr().err
