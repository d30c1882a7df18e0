"""The wire format of protocol buffers, as far as XLA's options and topologies need it.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Value = int | bytes
    Field = tuple[int, Value]

_VARINT, _BYTES = 0, 2


def encode(fields: Iterable[Field]) -> bytes:
    """A message of (number, value) fields: whole numbers as varints, bytes as they are.

    >>> encode([(1, 150), (2, b"testing")]).hex()
    '089601120774657374696e67'
    """
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [_varint(number << 3 | _VARINT), _varint(value)]
        else:
            parts += [_varint(number << 3 | _BYTES), _varint(len(value)), value]
    return b"".join(parts)


def parse(data: bytes) -> list[Field]:
    """The fields of a message, in their order: `encode(parse(data)) == data`.

    Raises:
        ValueError: the bytes are no message of varints and byte strings.
    """
    fields: list[Field] = []
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        value, at = _number(data, at)
        if key & 7 == _BYTES:
            start, at = at, at + value
            if at > len(data):
                raise ValueError(f"field {key >> 3} is cut off")
            fields.append((key >> 3, data[start:at]))
        elif key & 7 == _VARINT:
            fields.append((key >> 3, value))
        else:
            raise ValueError(f"field {key >> 3} has wire type {key & 7}, expected 0 or 2")
    return fields


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is that of 64 bits
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at == len(data) or shift > 63:
            raise ValueError("a varint is cut off")
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
