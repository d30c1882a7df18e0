"""The service of the gRPC half of the protocol: its methods around a handler.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

from __future__ import annotations

from math import inf
from time import perf_counter

import grpc
from google.protobuf.message import DecodeError

from serve import errors
from serve.body.lists import shown
from serve.deadline import Deadline
from serve.errors import RequestError
from serve.http.routes import logged
from serve.trace import identify
from serve.v2 import messages, model
from serve.v2.infer import infer, supported
from serve.v2.tensors import Tensor
from serve.watch import READY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from serve.arrays import Array
    from serve.handler import Handler

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Service:
    """The methods of the protocol's service around a handler."""

    __slots__ = ("_answers", "_handler")

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._answers = {
            "ServerLive": lambda request: {"live": True},
            "ServerReady": lambda request: self._ready(),
            "ServerMetadata": lambda request: model.server(),
            "ModelReady": lambda request: self._ready(request.name, request.version),
            "ModelMetadata": self._metadata,
            "ModelInfer": self._infer,
        }

    def methods(self) -> grpc.GenericRpcHandler:
        """The methods, as grpcio takes them."""
        return grpc.method_handlers_generic_handler(messages.SERVICE, {
            name: grpc.unary_unary_rpc_method_handler(self._method(name, *classes))
            for name, classes in messages.methods().items()
        })  # fmt: skip

    def _method(self, name: str, request: Any, response: Any) -> Callable[[bytes, Any], bytes]:
        # Messages come and go as bytes: grpcio calls what it can not read an internal error.
        answer, handler, path = self._answers[name], self._handler, f"/{messages.SERVICE}/{name}"

        def respond(
            body: bytes, headers: dict[str, Any], left: float | None
        ) -> tuple[int, bytes, str]:
            try:
                called = Deadline(inf if left is None else left, errors.LATE_CALL)
                with Deadline(handler.max_seconds), called:
                    made = response(**answer(request.FromString(body)))
                return 200, made.SerializeToString(), ""
            except DecodeError:
                return 400, b"", f"expected a message inference.{name}Request"
            except RequestError as error:
                return error.status, b"", str(error)
            except Exception:
                return 500, b"", logged(headers["x-request-id"])

        def method(body: bytes, context: grpc.ServicerContext) -> bytes:
            began, told = perf_counter(), context.invocation_metadata()
            headers = {name: value for name, value in told if isinstance(value, str)}
            identify(headers)
            named = ("lamda-address", "x-request-id")
            said = (handler.bundle.address, headers["x-request-id"])
            context.send_initial_metadata(tuple(zip(named, said, strict=True)))
            status, made, text = respond(body, headers, context.time_remaining())
            seconds = perf_counter() - began
            handler.watch.count(path, "POST", status, seconds, len(body), len(made))
            handler.watch.tell("POST", path, headers, status, seconds, len(body), len(made))
            if text:
                context.abort(CODES.get(status, CODES[400]), text)
            return made

        return method

    def _ready(self, *named: str) -> dict[str, Any]:
        if named:
            model.check(self._handler, *named)
        return {"ready": self._handler.watch.state == READY}

    def _metadata(self, request: Any) -> dict[str, Any]:
        model.check(self._handler, request.name, request.version)
        return model.model(self._handler)

    def _infer(self, request: Any) -> dict[str, Any]:
        model.check(self._handler, request.model_name, request.model_version)
        for one in (request, *request.inputs, *request.outputs):
            supported({key: _value(parameter) for key, parameter in one.parameters.items()})
        tensors = _tensors(request.inputs, request.raw_input_contents)
        outputs = infer(self._handler, tensors, [one.name for one in request.outputs])
        return {
            "model_name": self._handler.bundle.name,
            "model_version": self._handler.bundle.address,
            "id": request.id,
            "outputs": [_about(name, a) for name, a in outputs.items()],
            "raw_output_contents": [a.data for a in outputs.values()],
        }


def _tensors(inputs: Any, raw: Any) -> list[Tensor]:
    if raw and len(raw) != len(inputs):
        text = f"expected raw_input_contents for each of the {len(inputs)} inputs, or for none"
        raise RequestError(f"{text}, got {len(raw)}")
    if raw and any(one.HasField("contents") for one in inputs):
        raise RequestError("expected raw_input_contents or the contents of the inputs, got both")
    return [
        Tensor(
            one.name, one.datatype, list(one.shape), raw[i] if raw else _contents(one), finite=False
        )
        for i, one in enumerate(inputs)
    ]


def _contents(tensor: Any) -> list[Any]:
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        known = ", ".join(CONTENTS)
        text = f"expected raw_input_contents, or the datatype {known} for the input"
        raise RequestError(f"{text} {shown(tensor.name)}, got {shown(tensor.datatype)}")
    return list(getattr(tensor.contents, field))


def _value(parameter: Any) -> Any:
    which = parameter.WhichOneof("parameter_choice")
    return None if which is None else getattr(parameter, which)


def _about(name: str, a: Array) -> dict[str, Any]:
    return {"name": name, "datatype": model.DATATYPES[a.dtype], "shape": a.shape}
