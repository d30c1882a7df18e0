"""`read(headers, body)` is an inference request: JSON, and binary data after it where it says so.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from serve.body.codec import parse
from serve.body.forms import JSON
from serve.body.lists import shown
from serve.errors import RequestError
from serve.v2.infer import supported
from serve.v2.tensors import Tensor

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LENGTH = "inference-header-content-length"  # how many bytes of the body are JSON


class Request:
    """The input tensors, and the (name, binary) of each output that is asked for.

    `binary` is whether an output is wanted as binary data; of the request, where none is named.
    """

    __slots__ = ("binary", "id", "outputs", "tensors")

    def __init__(
        self, id: str | None, tensors: list[Tensor], outputs: list[tuple[str, bool]], binary: bool
    ) -> None:
        self.id = id
        self.tensors = tensors
        self.outputs = outputs
        self.binary = binary


def read(headers: Mapping[str, str], body: bytes, most: int) -> Request:
    """The request of a body of at most so many bytes, whatever its Content-Type.

    What may be left out may be `null` too, as clients write that make JSON of their own classes.

    Raises:
        RequestError: it is none; the message names what was expected.
    """
    if len(body) > most:
        text = f"expected at most {most} bytes, got {len(body)}: send fewer rows at a time"
        raise RequestError(text, 413)
    text, data = _parts(headers.get(LENGTH), body)
    value = _object(parse(text, JSON), "the request")
    name = _string(value, "id", "the request") if value.get("id") is not None else None
    binary = _flag(_parameters(value, "the request"), "binary_data_output", False)
    tensors, outputs = _tensors(value, data), _outputs(value, binary)
    return Request(name, tensors, outputs, binary)


def _parts(length: str | None, body: bytes) -> tuple[bytes, bytes]:
    """The JSON of a body, and the binary data after it."""
    if length is None:
        return body, b""
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise RequestError(f"expected a whole number as {LENGTH}, got {shown(length)}")
    if int(length) > len(body):
        raise RequestError(f"expected {length} bytes of JSON as {LENGTH} says, got {len(body)}")
    return body[: int(length)], body[int(length) :]


def _tensors(value: dict[str, Any], data: bytes) -> list[Tensor]:
    """The inputs, each with its own piece of the binary data where it has one."""
    tensors, at = [], 0
    for one in _list(value, "inputs"):
        name = _string(_object(one, "an input"), "name", "an input")
        where = f"the input {shown(name)}"
        size = _parameters(one, where).get("binary_data_size")
        if (size is None) == (one.get("data") is None):
            text = f'expected "data" or the parameter "binary_data_size" in {where}'
            raise RequestError(f"{text}, got {'neither' if size is None else 'both'}")
        if size is None:
            held: Any = _list(one, "data", f" of {where}")
        else:
            held = data[at : at + _size(size, len(data) - at, where)]
            at += len(held)
        tensors.append(Tensor(name, one.get("datatype"), one.get("shape"), held, finite=True))
    if at != len(data):
        text = f'expected {at} bytes after the JSON, as "binary_data_size" of the inputs says'
        raise RequestError(f"{text}, got {len(data)}")
    return tensors


def _size(size: Any, left: int, where: str) -> int:
    if type(size) is not int or not 0 <= size <= left:
        text = f'expected "binary_data_size" of {where} from 0 to {left}, the bytes that are left'
        raise RequestError(f"{text} after the JSON, as {LENGTH} says, got {shown(size)}")
    return size


def _outputs(value: dict[str, Any], binary: bool) -> list[tuple[str, bool]]:
    outputs = []
    for one in _list(value, "outputs") if value.get("outputs") is not None else []:
        name = _string(_object(one, "an output"), "name", "an output")
        parameters = _parameters(one, f"the output {shown(name)}")
        outputs.append((name, _flag(parameters, "binary_data", binary)))
    return outputs


def _object(value: Any, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise RequestError(f"expected an object as {what}, got {shown(value)}")
    return value


def _list(value: dict[str, Any], key: str, of: str = "") -> list[Any]:
    found = value.get(key)
    if type(found) is not list:
        raise RequestError(f'expected a list as "{key}"{of}, got {shown(found)}')
    return found


def _string(value: dict[str, Any], key: str, of: str) -> str:
    found = value.get(key)
    if type(found) is not str:
        raise RequestError(f'expected a string as "{key}" of {of}, got {shown(found)}')
    return found


def _parameters(value: dict[str, Any], of: str) -> dict[str, Any]:
    given = value.get("parameters")
    found = {} if given is None else _object(given, f'"parameters" of {of}')
    supported(found)
    return found


def _flag(parameters: dict[str, Any], key: str, default: bool) -> bool:
    found = parameters.get(key, default)
    if type(found) is not bool:
        raise RequestError(f'expected true or false as the parameter "{key}", got {shown(found)}')
    return found
