"""Azure Functions, by the types of its own library: no host of it can be had here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import campaign
import make
import numpy as np
import pytest
import tools
from memory import ADDRESS, doubling

import serve.azure
from serve.azure import make_app
from serve.body.forms import NPY
from serve.errors import BundleError, RequestError


@pytest.fixture(scope="module")
def func() -> Any:
    sys.path.append(str(tools.package("azure-functions", "1.26.0")))
    import azure.functions  # pyright: ignore[reportMissingImports]

    return azure.functions


@pytest.fixture(scope="module")
def functions(func: Any) -> dict[str, Any]:
    return found()


def found() -> dict[str, Any]:
    """The functions of an app as the worker of Azure finds them, by name."""
    app = make_app(
        doubling(max_bytes=1000), ("requests/{name}", "answers/{name}"), ("asked", "answered")
    )
    return {each.get_function_name(): each for each in app.get_functions()}


def over_http(func: Any, functions: Any, method: str, path: str, headers: Any, body: bytes) -> Any:
    """The response as the worker sends it to the host."""
    request = func.HttpRequest(
        method, f"https://x{path}", headers=headers, params={}, body=body,
        route_params={"path": path.lstrip("/")} if path != "/" else {},
    )  # fmt: skip
    response = functions["http"].get_user_function()(request)
    convert = sys.modules["azure.functions.http"].HttpResponseConverter

    convert.encode(response, expected_type=None)
    return response


def test_http_is_answered_as_http(func: Any, functions: Any) -> None:
    def ask(method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        return over_http(func, functions, method, path, headers, body)

    answer = ask("POST", "/", b"[[1,2]]", **{"Content-Type": "application/json"})
    assert (answer.status_code, answer.get_body()) == (200, b"[[2,4]]")
    assert answer.headers["lamda-address"] == ADDRESS
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    binary = ask("POST", "/", b"[[1,2]]", Accept=NPY)
    assert np.frombuffer(binary.get_body()[-8:], "<f4").tolist() == [2, 4]
    assert json.loads(ask("GET", "/").get_body())["address"] == ADDRESS
    assert ask("GET", "/healthz").status_code == 200
    assert ask("GET", "/none").status_code == 404
    assert ask("PUT", "/").status_code == 405
    wrong = ask("POST", "/", b"[[1]]")
    assert json.loads(wrong.get_body()) == {
        "error": "input[0]: expected a list of 2 for float32[b, 2], got a list of 1"
    }
    long = ask("POST", "/", b" " * 1001)
    assert (long.status_code, json.loads(long.get_body())["error"]) == (
        413, "expected at most 1000 bytes, got 1001: send fewer rows"
    )  # fmt: skip


def test_a_blob_is_answered_by_a_blob(func: Any, functions: Any) -> None:
    blob = functions["blob"].get_user_function()
    source = sys.modules["azure.functions.blob"].InputStream

    class Out(func.Out):
        value = None

        def set(self, val: Any) -> None:
            self.value = val

        def get(self) -> Any:
            return self.value

    out = Out()
    blob(source(data=b"[[1,2]]", name="requests/a.json"), out)
    assert out.get() == b"[[2,4]]"
    npy = over_http(func, functions, "POST", "/", {"accept": NPY}, b"[[1,2]]").get_body()
    blob(source(data=npy, name="requests/a.NPY"), out)
    assert np.frombuffer(out.get()[-8:], "<f4").tolist() == [4, 8]
    with pytest.raises(RequestError, match="expected a list of 2"):  # Azure keeps it as poison
        blob(source(data=b"[[1]]", name=None), out)
    queue = functions["queue"].get_user_function()
    queue(func.QueueMessage(body=b"[[3,4]]"), out)
    assert out.get() == "[[6,8]]"
    with pytest.raises(RequestError, match="the request is empty"):
        queue(func.QueueMessage(body=b""), out)


def test_the_bindings_are_those_of_azure(functions: Any) -> None:
    found = {
        name: {b["name"]: b for b in json.loads(each.get_function_json())["bindings"]}
        for name, each in functions.items()
    }
    assert set(found) == {"http", "blob", "queue"}
    assert found["http"]["req"]["route"] == "{*path}"
    assert found["http"]["req"]["type"] == "httpTrigger"
    assert found["blob"]["request"] == {
        "direction": "IN", "type": "blobTrigger", "name": "request", "path": "requests/{name}",
        "connection": "AzureWebJobsStorage",
    }  # fmt: skip
    assert found["blob"]["answer"]["path"] == "answers/{name}"
    assert found["queue"]["request"]["queueName"] == "asked"
    assert (found["queue"]["answer"]["type"], found["queue"]["answer"]["queueName"]) == (
        "queue", "answered"
    )  # fmt: skip


def test_the_app_of_the_environment(
    func: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAMDA_BUNDLE", raising=False)
    with pytest.raises(BundleError) as caught:
        serve.azure.app
    assert str(caught.value) == "LAMDA_BUNDLE is not set: expected the directory of a bundle"
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        serve.azure.other
    monkeypatch.setenv("LAMDA_BUNDLE", make.add_one(tmp_path / "bundle"))
    try:
        (function,) = serve.azure.app.get_functions()
        answer = over_http(func, {"http": function}, "POST", "/", {}, b"[[1,2,3]]")
        assert answer.get_body() == b"[[2,3,4]]"
    finally:
        vars(serve.azure).pop("app", None)


def answering() -> Callable[..., tuple[int, bytes]]:
    import azure.functions as func  # pyright: ignore[reportMissingImports]

    functions = found()

    def answer(*request: Any) -> tuple[int, bytes]:
        response = over_http(func, functions, *request)
        return response.status_code, response.get_body()

    return answer


def test_broken_requests(func: Any) -> None:
    with campaign.Apart(answering) as respond:

        def ask(request: campaign.Request) -> int:
            return respond(*request)[0]

        def valid() -> None:
            assert respond("POST", "/", {}, b"[[1,2]]") == (200, b"[[2,4]]")

        campaign.run(ask, valid, respond)
