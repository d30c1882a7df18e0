"""The Open Inference Protocol over gRPC, through a channel."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import make
import numpy as np
import pytest
import tools
from memory import ADDRESS, Bundle, handler
from v2_models import arrays, every, flat, tensor, typed, words

from serve.handler import Handler
from serve.v2.model import DATATYPES
from serve.watch import LOADING

grpc = pytest.importorskip("grpc", reason='gRPC takes "lamda[grpc]"')
from serve.v2 import messages  # noqa: E402
from serve.v2.grpc import serving  # noqa: E402
from serve.v2.service import CONTENTS  # noqa: E402

INFER = {"model_name": "memory"}


def test_what_its_client_waits_for_no_more_is_not_computed() -> None:
    model = flat()
    run = model.engine.function

    def slow(x: np.ndarray) -> Any:
        time.sleep(0.3)
        return run(x)

    model.engine.function = slow
    rows = np.ones((12, 2), np.float32)  # three pieces of the largest batch
    request, _ = messages.methods()["ModelInfer"]
    body = request(**INFER, inputs=[tensor("input", rows)], raw_input_contents=[rows.tobytes()])
    with (
        serving(model, "127.0.0.1", 0) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        call = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
        with pytest.raises(grpc.RpcError) as raised:
            call(body.SerializeToString(), timeout=0.2)
        time.sleep(1)  # all of it takes 0.9
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(model.engine.calls) == 1


class Client:
    """A channel to a handler; `client.ModelInfer(...)` is the response to such a request."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.methods = messages.methods()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        request, response = self.methods[name]
        return lambda **fields: response.FromString(
            self.send(name, request(**fields).SerializeToString())
        )

    def send(self, name: str, body: bytes) -> bytes:
        return self.channel.unary_unary(f"/{messages.SERVICE}/{name}")(body, timeout=20)

    def refused(self, method: str, /, **fields: Any) -> tuple[Any, str]:
        with pytest.raises(grpc.RpcError) as raised:
            getattr(self, method)(**fields)
        return raised.value.code(), raised.value.details()


@pytest.fixture
def client() -> Iterator[Callable[[Handler], Client]]:
    opened: list[Any] = []

    def connect(model: Handler) -> Client:
        context = serving(model, "127.0.0.1", 0)
        made = Client(context.__enter__())
        opened.extend([context, made.channel])
        return made

    yield connect
    for context, channel in zip(opened[::2], opened[1::2], strict=True):
        channel.close()
        context.__exit__(None, None, None)


def test_health_and_metadata(client: Any) -> None:
    model = flat()
    to = client(model)
    assert to.ServerLive().live
    assert to.ServerReady().ready
    assert to.ModelReady(name="memory", version=ADDRESS).ready
    assert to.ServerMetadata().name == "lamda"
    about = to.ModelMetadata(name="memory")
    assert (about.name, list(about.versions)) == ("memory", [ADDRESS])
    assert [(one.name, one.datatype, [*one.shape]) for one in (*about.inputs, *about.outputs)] == [
        ("input", "FP32", [-1, 2]), ("output", "FP32", [-1]),
    ]  # fmt: skip
    model.watch.state = LOADING
    assert not to.ServerReady().ready
    assert not to.ModelReady(name="memory").ready


def test_every_datatype_raw(client: Any) -> None:
    given = arrays()
    answer = client(every()).ModelInfer(
        **INFER, id="7", inputs=[tensor(name, a) for name, a in given.items()],
        raw_input_contents=[a.tobytes() for a in given.values()],
    )  # fmt: skip
    assert (answer.model_name, answer.model_version, answer.id) == ("memory", ADDRESS, "7")
    assert [one.name for one in answer.outputs] == list(given)
    assert [[*one.shape] for one in answer.outputs] == [list(a.shape) for a in given.values()]
    assert list(answer.raw_output_contents) == [a.tobytes() for a in given.values()]


def test_every_datatype_by_its_own_field(client: Any) -> None:
    """But the two of 16 bits, which the protocol has no field for."""
    given = arrays()
    inputs = [
        tensor(name, a, contents={CONTENTS[DATATYPES[a.dtype.name]]: a.ravel().tolist()})
        for name, a in given.items()
        if DATATYPES[a.dtype.name] in CONTENTS
    ]
    to = client(every())
    half = [tensor("each.float16", given["each.float16"]),
            tensor("each.bfloat16", given["each.bfloat16"])]  # fmt: skip
    code, text = to.refused("ModelInfer", **INFER, inputs=[*half, *inputs])
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("expected raw_input_contents, or the datatype BOOL, INT8")
    one = client(flat())
    sent = {"name": "input", "datatype": "FP32", "shape": [2, 2]}
    answer = one.ModelInfer(**INFER, inputs=[sent | {"contents": {"fp32_contents": [1, 2, 3, 4]}}])
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [3, 7]


def test_texts(client: Any) -> None:
    to = client(words())
    sent = {"name": "text", "datatype": "BYTES", "shape": [2]}
    texts = [b"one two", "drei vier fünf".encode()]
    raw = b"".join(len(one).to_bytes(4, "little") + one for one in texts)
    for request in (
        {"inputs": [sent | {"contents": {"bytes_contents": texts}}]},
        {"inputs": [sent], "raw_input_contents": [raw]},
    ):
        answer = to.ModelInfer(**INFER, **request)
        assert np.frombuffer(answer.raw_output_contents[0], "<i4").tolist() == [2, 3]


def test_what_is_wrong_is_named(client: Any) -> None:
    to = client(flat())
    wrong, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    sent = {"name": "input", "datatype": "FP32", "shape": [1, 2]}
    raw = {"raw_input_contents": [bytes(8)]}
    assert to.refused("ModelReady", name="x") == (
        missing, 'expected the model "memory", got "x"')  # fmt: skip
    assert to.refused("ModelMetadata", name="memory", version="1") == (
        missing, f'expected the version {ADDRESS}, or none, got "1"')  # fmt: skip
    assert to.refused("ModelInfer", **INFER, inputs=[sent | {"shape": [-1, 2]}], **raw) == (
        wrong, 'expected a list of whole numbers as the shape of "input" FP32[b, 2]')  # fmt: skip
    assert to.refused("ModelInfer", **INFER, inputs=[sent], raw_input_contents=[b""]) == (
        wrong, 'input["input"]: expected 8 bytes for float32[1, 2], got 0 bytes')  # fmt: skip
    assert to.refused("ModelInfer", **INFER, inputs=[sent]) == (
        wrong, 'input["input"]: expected a list of 2 for float32[2], got a list of 0')  # fmt: skip
    assert to.refused("ModelInfer", **INFER, inputs=[sent], raw_input_contents=[b"", b""]) == (
        wrong, "expected raw_input_contents for each of the 1 inputs, or for none, got 2"
    )  # fmt: skip
    both = sent | {"contents": {"fp32_contents": [1, 2]}}
    assert to.refused("ModelInfer", **INFER, inputs=[both], **raw) == (
        wrong, "expected raw_input_contents or the contents of the inputs, got both")  # fmt: skip
    assert to.refused("ModelInfer", **INFER, inputs=[sent], outputs=[{"name": "x"}], **raw) == (
        wrong, 'expected the outputs "output" FP32[b], got "x"')  # fmt: skip
    parameters = {"sequence_id": {"int64_param": 3}}
    code, text = to.refused("ModelInfer", **INFER, inputs=[sent], parameters=parameters, **raw)
    assert (code, text[:28]) == (wrong, 'the parameter "sequence_id" ')
    with pytest.raises(grpc.RpcError) as raised:
        to.send("ModelInfer", b"\xff\xff")
    assert raised.value.code() is wrong
    assert raised.value.details() == "expected a message inference.ModelInferRequest"


def test_a_message_has_its_limit(client: Any) -> None:
    to = client(flat(max_bytes=1000))
    sent = {"name": "input", "datatype": "FP32", "shape": [1, 2]}
    code, _ = to.refused("ModelInfer", **INFER, inputs=[sent], raw_input_contents=[bytes(70_000)])
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_requests_are_counted(client: Any) -> None:
    model = flat()
    to = client(model)
    to.ServerLive()
    to.refused("ModelReady", name="x")
    found = {(route.rpartition("/")[2], status) for route, _, status in model.watch.rows}
    assert found == {("ServerLive", 200), ("ModelReady", 404)}


def test_an_answer_names_its_address_and_its_request(client: Any) -> None:
    to = client(flat())
    call = to.channel.unary_unary(f"/{messages.SERVICE}/ServerLive").with_call
    _, said = call(b"", metadata=[("x-request-id", "seven")], timeout=20)
    found = dict(said.initial_metadata())
    assert (found["lamda-address"], found["x-request-id"]) == (ADDRESS, "seven")


def test_what_is_under_way_at_the_end_is_finished() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(x: np.ndarray) -> list[np.ndarray]:
        begun.set()
        assert may_end.wait(20)
        return [x]

    one = typed("float32", "b", 2)
    model = handler(Bundle(one, one, {"b": [1]}), slow)
    given = np.ones((1, 2), np.float32)
    with ThreadPoolExecutor(1) as pool:
        with serving(model, "127.0.0.1", 0) as port:
            to = Client(port)
            fields = {"inputs": [tensor("input", given)], "raw_input_contents": [given.tobytes()]}
            answer = pool.submit(to.ModelInfer, **INFER, **fields)
            assert begun.wait(20)
            threading.Timer(0.5, may_end.set).start()
        assert answer.result(20).raw_output_contents[0] == given.tobytes()
        to.channel.close()


def test_a_port_is_taken_once() -> None:
    with (
        serving(flat(), "127.0.0.1", 0) as port,
        pytest.raises(OSError, match="can not listen on"),
        serving(flat(), "127.0.0.1", port),
    ):
        pass


def test_the_messages_are_those_of_the_protocol(tmp_path: Path) -> None:
    """protoc makes of the definition the bytes that are kept beside it."""
    source = Path(messages.PATH).with_suffix(".proto")
    shutil.copy(source, tmp_path)
    compiler = tools.package("grpcio-tools", "1.81.1")
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--descriptor_set_out=made"]
    subprocess.run([*protoc, source.name], cwd=tmp_path, env={"PYTHONPATH": compiler}, check=True)
    assert (tmp_path / "made").read_bytes() == Path(messages.PATH).read_bytes()


def test_the_command_serves_both(tmp_path: Path) -> None:
    directory = make.add_one(tmp_path / "bundle")
    http, port = tools.free_port(), tools.free_port()
    command = [sys.executable, "-m", "serve", directory, "--port", str(http), "--grpc", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=make.ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving add_one")
        to = Client(port)
        with to.channel:
            grpc.channel_ready_future(to.channel).result(20)
            given = np.array([[1, 2, 3]], np.float32)
            answer = to.ModelInfer(
                model_name="add_one", inputs=[tensor("input", given)],
                raw_input_contents=[given.tobytes()],
            )  # fmt: skip
            assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [2, 3, 4]
        body = {"inputs": [tensor("input", given, data=[1, 2, 3])]}
        said = httpx.post(f"http://127.0.0.1:{http}/v2/models/add_one/infer", json=body)
        assert said.json()["outputs"][0]["data"] == [2, 3, 4]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_without_its_packages_the_error_says_what_to_install() -> None:
    script = """
import json, sys
sys.modules["grpc"] = None
try:
    import serve.v2.grpc
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""
    kind, text = make.python(script)
    assert kind == "ServeError"
    assert text.startswith('gRPC takes the packages grpcio and protobuf: install "lamda[grpc]"')


def test_rest_imports_nothing_of_grpc() -> None:
    script = "import json, sys, serve.v2; print(json.dumps(sorted(sys.modules)))"
    found = set(make.python(script))
    assert not found & {"grpc", "google.protobuf", "numpy", "msgpack", "asyncio", "jax", "typing"}
    assert json.dumps("serve.v2.rest")[1:-1] in found
