"""The clients that people have, Triton's and KServe's, against a real server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tools
import uvicorn
from memory import ADDRESS
from v2_models import every, flat, words

from serve.handler import Handler
from serve.http.asgi import make_app
from serve.v2.model import DATATYPES

TRITON = ("tritonclient[http,grpc]", "2.73.0")
KSERVE = ("kserve", "0.21.0")


@contextlib.contextmanager
def serving(model: Handler) -> Iterator[tuple[str, str]]:
    """Where a handler answers HTTP, and where gRPC, which is "" where it is not installed."""
    config = uvicorn.Config(make_app(model), log_config=None, ws="none")
    server = uvicorn.Server(config)
    with contextlib.ExitStack() as stack:
        port = ""
        with contextlib.suppress(ImportError):
            import grpc  # noqa: F401

            from serve.v2 import grpc as ours

            port = f"127.0.0.1:{stack.enter_context(ours.serving(model, '127.0.0.1', 0))}"
        bound = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"127.0.0.1:{bound.getsockname()[1]}", port
        finally:
            server.should_exit = True
            thread.join(10)


def run(package: tuple[str, str], script: str, model: Handler) -> Any:
    """What a script prints, in a process that has the client, given both addresses."""
    root = tools.package(*package)
    with serving(model) as addresses:
        done = subprocess.run(
            [sys.executable, "-c", SETUP + script, *addresses], cwd=root, capture_output=True,
            env=os.environ | {"PYTHONPATH": str(root)}, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SETUP = f"""
import json, sys
import ml_dtypes, numpy as np

DATATYPES = {DATATYPES!r}
http, grpc = sys.argv[1:]

def given():
    made = {{}}
    for name in sorted(DATATYPES):
        kind = np.dtype(getattr(ml_dtypes, name, None) or name)
        numbers = np.arange(8).reshape(4, 2)
        made["each." + name] = (numbers % 2 if name == "bool" else numbers).astype(kind)
    made["one"] = np.array(1.5, np.float32)
    return made

def same(a, b):
    return a is not None and a.shape == b.shape and np.array_equal(a.astype("f8"), b.astype("f8"))

def datatype(name):
    return DATATYPES[name.removeprefix("each.")] if name != "one" else "FP32"
"""

TRITON_HTTP = """
import tritonclient.http as client

def go(binary_in, binary_out, named, **more):
    tensors = []
    for name, a in given().items():
        tensor = client.InferInput(name, list(a.shape), datatype(name))
        raw = binary_in or datatype(name) in ("FP16", "BF16")
        tensor.set_data_from_numpy(a, binary_data=raw)
        tensors.append(tensor)
    wanted = [client.InferRequestedOutput(name, binary_data=binary_out) for name in given()]
    answer = to.infer("memory", tensors, outputs=wanted if named else None, request_id="7", **more)
    assert answer.get_response()["id"] == "7"
    return all(same(answer.as_numpy(name), a) for name, a in given().items())

with client.InferenceServerClient(http) as to:
    version = to.get_model_metadata("memory")["versions"][0]
    found = {
        "live": to.is_server_live(), "ready": to.is_server_ready(),
        "model": to.is_model_ready("memory"), "version": to.is_model_ready("memory", version),
        "other": to.is_model_ready("other"), "server": to.get_server_metadata()["name"],
        "metadata": to.get_model_metadata("memory", version)["inputs"][2]["datatype"],
        "binary": go(True, True, True), "json": go(False, False, True),
        "mixed": go(False, True, True),
        "unnamed": go(True, True, False), "versioned": go(True, True, True, model_version=version),
        "gzip": go(True, True, True, request_compression_algorithm="gzip"),
        "deflate": go(False, False, True, request_compression_algorithm="deflate"),
        "gzipped": go(True, True, True, response_compression_algorithm="gzip"),
    }
    try:
        wrong = client.InferInput("x", [1], "FP32").set_data_from_numpy(np.zeros(1, "f4"))
        to.infer("memory", [wrong])
    except client.InferenceServerException as error:
        found["error"] = [error.status(), error.message()[:20]]
print(json.dumps(found))
"""

TRITON_GRPC = """
import tritonclient.grpc as client

def go(named, **more):
    tensors = []
    for name, a in given().items():
        tensor = client.InferInput(name, list(a.shape), datatype(name))
        tensor.set_data_from_numpy(a)
        tensors.append(tensor)
    wanted = [client.InferRequestedOutput(name) for name in given()]
    answer = to.infer("memory", tensors, outputs=wanted if named else None, request_id="7", **more)
    assert answer.get_response().id == "7"
    return all(same(answer.as_numpy(name), a) for name, a in given().items())

with client.InferenceServerClient(grpc) as to:
    version = to.get_model_metadata("memory").versions[0]
    found = {
        "live": to.is_server_live(), "ready": to.is_server_ready(),
        "model": to.is_model_ready("memory"), "version": to.is_model_ready("memory", version),
        "server": to.get_server_metadata().name,
        "metadata": to.get_model_metadata("memory", version).inputs[2].datatype,
        "named": go(True), "unnamed": go(False), "versioned": go(True, model_version=version),
        "gzip": go(True, compression_algorithm="gzip"),
    }
    try:
        wrong = client.InferInput("x", [1], "FP32").set_data_from_numpy(np.zeros(1, "f4"))
        to.infer("memory", [wrong])
    except client.InferenceServerException as error:
        found["error"] = [error.status(), error.message()[:20]]
print(json.dumps(found))
"""

TRITON_TEXT = """
import tritonclient.grpc, tritonclient.http

texts, found = np.array(["one two", "drei vier fünf"], object), []
for client, place in ((tritonclient.http, http), (tritonclient.grpc, grpc)):
    for binary in (True, False) if client is tritonclient.http else (True,):
        if not place:
            continue
        tensor = client.InferInput("text", [2], "BYTES")
        tensor.set_data_from_numpy(texts, **({} if binary else {"binary_data": False}))
        with client.InferenceServerClient(place) as to:
            found.append(to.infer("memory", [tensor]).as_numpy("output").tolist())
print(json.dumps(found))
"""

KSERVE_REST = """
import asyncio
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

def request(binary_in, binary_out):
    tensors = []
    for name, a in given().items():
        if datatype(name) == "BF16":  # which this client can not write
            a = (a.astype("f4").view("u4") >> 16).astype("u2").view("V2")
            tensor = InferInput(name, list(a.shape), "BF16")
            tensor._raw_data = a.tobytes()
            tensor._parameters = {"binary_data_size": len(tensor._raw_data)}
        else:
            tensor = InferInput(name, list(a.shape), datatype(name))
            tensor.set_data_from_numpy(a, binary_data=binary_in or datatype(name) == "FP16")
        tensors.append(tensor)
    names = [name for name in given() if datatype(name) != "BF16"]
    wanted = [RequestedOutput(name, {"binary_data": binary_out}) for name in names]
    return InferRequest("memory", tensors, request_id="7", request_outputs=wanted)

async def main():
    to, base = InferenceRESTClient(RESTConfig(protocol="v2")), "http://" + http
    async def go(*how):
        answer = await to.infer(base, request(*how), model_name="memory")
        assert answer.id == "7"
        return all(same(one.as_numpy(), given()[one.name]) for one in answer.outputs)
    plain = {"inputs": [{"name": n, "shape": list(a.shape), "datatype": datatype(n),
                         "data": a.ravel().tolist()} for n, a in given().items()]}
    answer = await to.infer(base, plain, model_name="memory")
    found = {
        "live": await to.is_server_live(base), "ready": await to.is_server_ready(base),
        "model": await to.is_model_ready(base, "memory"), "plain": len(answer.outputs),
        "binary": await go(True, True), "json": await go(False, False),
    }
    await to.close()
    return found

print(json.dumps(asyncio.run(main())))
"""

KSERVE_GRPC = """
import asyncio
from kserve import InferenceGRPCClient, InferInput, InferRequest

async def main():
    tensors = []
    for binary in (True, False):
        tensor = InferInput("input", [2, 2], "FP32")
        tensor.set_data_from_numpy(np.array([[1, 2], [3, 4]], "f4"), binary_data=binary)
        tensors.append(tensor)
    to = InferenceGRPCClient(grpc)
    answers = [await to.infer(InferRequest("memory", [one], request_id="7")) for one in tensors]
    found = {
        "live": await to.is_server_live(), "ready": await to.is_server_ready(),
        "model": await to.is_model_ready("memory"), "ids": [one.id for one in answers],
        "answers": [one.outputs[0].as_numpy().tolist() for one in answers],
    }
    await to.close()
    return found

print(json.dumps(asyncio.run(main())))
"""


def test_triton_over_http() -> None:
    found = run(TRITON, TRITON_HTTP, every())
    assert found.pop("error") == ["400", "expected the inputs "]
    assert (found.pop("other"), found.pop("server")) == (False, "lamda")
    assert found.pop("metadata") == "FP16"
    assert found == dict.fromkeys(found, True)


def test_triton_over_grpc() -> None:
    pytest.importorskip("grpc", reason='gRPC takes "lamda[grpc]"')
    found = run(TRITON, TRITON_GRPC, every())
    assert found.pop("error") == ["StatusCode.INVALID_ARGUMENT", "expected the inputs "]
    assert (found.pop("server"), found.pop("metadata")) == ("lamda", "FP16")
    assert found == dict.fromkeys(found, True)


def test_triton_sends_texts() -> None:
    pytest.importorskip("grpc", reason='gRPC takes "lamda[grpc]"')
    assert run(TRITON, TRITON_TEXT, words()) == [[2, 3]] * 3


def test_kserve_over_rest() -> None:
    found = run(KSERVE, KSERVE_REST, every())
    assert found.pop("plain") == len(DATATYPES) + 1
    assert found == dict.fromkeys(found, True)


def test_kserve_over_grpc() -> None:
    pytest.importorskip("grpc", reason='gRPC takes "lamda[grpc]"')
    found = run(KSERVE, KSERVE_GRPC, flat())
    assert (found.pop("ids"), found.pop("answers")) == (["7", "7"], [[3, 7], [3, 7]])
    assert found == dict.fromkeys(found, True)


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Of the protocol's own OpenAPI document, with the model's own name in its paths.

    Another name is 404, which the document does not tell; that is in test_v2.py. Nor does it tell
    the names of the tensors: what fits it may still be refused.
    """
    root = tools.package("schemathesis", "4.32.5")
    spec = (Path(__file__).parent / "open_inference_rest.yaml").read_text()
    spec, removed = re.subn(r"(?m)^    parameters:\n(      [- ] .*\n)+", "", spec)
    assert removed == 3
    spec = spec.replace("${MODEL_NAME}", "memory").replace("${MODEL_VERSION}", ADDRESS)
    (tmp_path / "spec.yaml").write_text(spec)
    with serving(flat()) as (http, _):
        command = [
            sys.executable, "-m", "schemathesis.cli", "run", "spec.yaml", "--url", f"http://{http}",
            "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--no-color",
            "--max-examples", "1000" if "CAMPAIGN" in os.environ else "30",
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True, text=True, timeout=3600,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
