"""`write(bundle, outputs, request)` is the answer to an inference request over REST."""

from __future__ import annotations

import json

from serve.arrays import SIZES, Array
from serve.body.lists import to_json
from serve.errors import RequestError
from serve.v2.model import DATATYPES
from serve.v2.request import LENGTH

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.v2.request import Request

BINARY = "application/octet-stream"
NOT_FINITE = (
    'the output "{name}" has a number that is not finite, which JSON can not say: expected a '
    'request for binary data, by the parameter "binary_data_output"'
)


def write(bundle: Any, outputs: dict[str, Array], request: Request) -> tuple[bytes, dict[str, str]]:
    """The body and the headers that tell its form: JSON, or JSON and binary data after it.

    Raises:
        RequestError: a number is not finite, and JSON was asked for.
    """
    binary = dict.fromkeys(outputs, request.binary) | dict(request.outputs)
    about: dict[str, str] = {"model_name": bundle.name, "model_version": bundle.address}
    if request.id is not None:
        about["id"] = request.id
    tensors = ", ".join(_tensor(name, a, binary[name]) for name, a in outputs.items())
    text = f'{json.dumps(about)[:-1]}, "outputs": [{tensors}]}}'.encode()
    if not any(binary.values()):
        return text, {}
    data = (a.data for name, a in outputs.items() if binary[name])
    return b"".join((text, *data)), {"content-type": BINARY, LENGTH: str(len(text))}


def _tensor(name: str, a: Array, binary: bool) -> str:
    about: dict[str, Any] = {"name": name, "datatype": DATATYPES[a.dtype], "shape": [*a.shape]}
    if binary:
        return json.dumps(about | {"parameters": {"binary_data_size": len(a.data)}})
    flat = Array(a.dtype, (len(a.data) // SIZES[a.dtype],), a.data)
    data = to_json(flat)
    if "null" in data:  # the protocol's schema has numbers and no null there
        raise RequestError(NOT_FINITE.format(name=name))
    return f'{json.dumps(about)[:-1]}, "data": {data}}}'
