"""Bodies that are many values: JSON with one a line, or msgpack with one after the other.

`frames(form, most).feed(data)` is the values that are complete, however the body was cut.
"""

from __future__ import annotations

import json

from serve import errors
from serve.body import codec
from serve.body.forms import JSON, MSGPACK
from serve.errors import RequestError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

NDJSON = "application/x-ndjson"


def frame(value: bytes, form: str) -> bytes:
    """A value as it stands in a body."""
    return value + b"\n" if form == JSON else value


def plain(value: Any, form: str) -> bytes:
    """A value without arrays in that form."""
    if form == JSON:
        return json.dumps(value, separators=(",", ":")).encode()
    import msgpack

    return msgpack.Packer().pack(value)


def frames(form: str, most: int) -> Lines | Objects:
    """The reader of a body in that form, of which no value may have more than `most` bytes."""
    return Lines(most) if form == JSON else Objects(most)


class Lines:
    """JSON values, one a line; lines that are blank are none."""

    name = "line"

    __slots__ = ("_held", "most", "number")

    def __init__(self, most: int) -> None:
        self.most = most
        self.number = 0
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The values of the lines that end in `data`; `number` is that of the line.

        Raises:
            RequestError: a line is not JSON, or too long.
        """
        first, *more = data.split(b"\n")
        self._held += first
        if more:
            *whole, rest = bytes(self._held), *more
            self._held = bytearray(rest)
            for line in whole:
                yield from self._value(line)
        if len(self._held) > self.most:
            yield from self._value(bytes(self._held))

    def end(self) -> Iterator[Any]:
        """The value of the last line, which needs no newline. Raises as `feed` does."""
        yield from self._value(bytes(self._held))

    def _value(self, line: bytes) -> Iterator[Any]:
        self.number += 1
        if len(line) > self.most:
            raise RequestError(errors.LONG_VALUE.format(most=self.most), 413)
        if line.strip():
            yield codec.parse(line, JSON)


class Objects:
    """msgpack values, one after the other; `number` counts them."""

    name = "value"

    __slots__ = ("_held", "_start", "_unpacker", "most", "number")

    def __init__(self, most: int) -> None:
        import msgpack

        self.most = most
        self.number = 0
        self._held = bytearray()  # what has come of the value that is not complete
        self._start = 0  # where it starts
        self._unpacker = msgpack.Unpacker()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The values that end in `data`.

        Raises:
            RequestError: a value is not msgpack, or too long.
        """
        while data:
            piece, data = data[:65536], data[65536:]
            self._held += piece
            self._unpacker.feed(piece)
            while (size := self._next()) is not None:
                value, self._held = bytes(self._held[:size]), self._held[size:]
                yield self._value(value)
            if len(self._held) > self.most:
                self._value(bytes(self._held))

    def end(self) -> Iterator[Any]:
        """Nothing more: a value that is not complete is refused."""
        if self._held:
            yield self._value(bytes(self._held))

    def _next(self) -> int | None:
        """The size of the first value that is held, if it is complete."""
        import msgpack

        try:
            self._unpacker.skip()
        except msgpack.OutOfData:
            return None
        except ValueError:
            return len(self._held)  # reading it says what is wrong
        end = self._unpacker.tell()
        size, self._start = end - self._start, end
        return size

    def _value(self, data: bytes) -> Any:
        self.number += 1
        if len(data) > self.most:
            raise RequestError(errors.LONG_VALUE.format(most=self.most), 413)
        return codec.parse(data, MSGPACK)
