"""The messages of the gRPC half, of the protocol's own definition.

`open_inference_grpc.binpb` is `open_inference_grpc.proto`, compiled:

    protoc --descriptor_set_out=open_inference_grpc.binpb open_inference_grpc.proto

It has a pool of its own: clients in the same process often bring the same names, with fields more.
"""

from __future__ import annotations

import os

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = os.path.join(os.path.dirname(__file__), "open_inference_grpc.binpb")
SERVICE = "inference.GRPCInferenceService"


def methods() -> dict[str, tuple[Any, Any]]:
    """The classes of the request and of the response of each method of the service."""
    pool = descriptor_pool.DescriptorPool()
    with open(PATH, "rb") as file:
        for one in FileDescriptorSet.FromString(file.read()).file:
            pool.Add(one)
    made = message_factory.GetMessageClass
    return {
        method.name: (made(method.input_type), made(method.output_type))
        for method in pool.FindServiceByName(SERVICE).methods
    }
