"""The weights in an ONNX file, read without the package onnx.

An ONNX file is a protocol buffer. Of a ModelProto this reads the graph (field 7), of the graph its
initializers (5), and of each of those the dims (1), the data type (2), the name (8) and the bytes
(9): https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

DTYPES = {1: np.float32, 7: np.int64}
"""Of ONNX's data types those that are met here."""


def weights(model: bytes) -> dict[str, np.ndarray]:
    """The initializers of a model by name.

    Raises: ValueError if the file is no ONNX model, or one has its numbers in another form.
    """
    graphs = [value for number, value in _fields(model) if number == 7]
    if len(graphs) != 1 or not isinstance(graphs[0], bytes):
        raise ValueError("expected an ONNX model: a protocol buffer with one graph in field 7")
    return dict(_tensor(value) for number, value in _fields(graphs[0]) if number == 5)


def _tensor(message: int | bytes) -> tuple[str, np.ndarray]:
    assert isinstance(message, bytes)
    dims, fields = [], {}
    for number, value in _fields(message):
        if number == 1:
            # Packed, several whole numbers stand in one field; else there is a field for each.
            dims += [value] if isinstance(value, int) else list(_packed(value))
        else:
            fields[number] = value
    name = fields[8].decode()
    if fields[2] not in DTYPES or 9 not in fields:
        raise ValueError(f"{name}: expected float32 or int64 as raw bytes")
    return name, np.frombuffer(fields[9], DTYPES[fields[2]]).reshape(dims)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: numbers are int, and what has a length is bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, 0), at)
            value, at = message[at : at + size], at + size
        if kind not in (0, 1, 2, 5) or at > len(message):
            raise ValueError("expected a protocol buffer: a field does not end where it should")
        yield number, value


def _packed(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("expected a protocol buffer: a number does not end where it should")
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at
