"""One stream from its first byte to its last: pieces of a body in, answers out, nothing else."""

from __future__ import annotations

import json

from serve import errors
from serve.body.forms import JSON, MSGPACK, accepted, requested
from serve.errors import RequestError
from serve.stream.frames import NDJSON, frame, frames, plain
from serve.stream.line import MOST
from serve.types import show

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from serve.stream.iterate import Iterate
    from serve.stream.scan import Scan

OFFERED = [NDJSON, JSON, MSGPACK]


def describe(stream: Scan | Iterate) -> dict[str, Any]:
    """How to ask for a stream, as JSON values."""
    body = "".join(json.dumps(line) + "\n" for line in stream.example())
    return {
        "kind": stream.kind,
        "input": show(stream.input),
        "output": show(stream.output),
        "request": {"method": "POST", "path": "/stream", "content_type": NDJSON, "body": body},
        "content_types": OFFERED,
        "max_lines": MOST,
    }


class Talk:
    """`talk.feed(piece)` is the answers to the lines that end in a piece of the body.

    After the last piece, `end` is what is left to say; after an error, `failed` is. A request in
    JSON is answered in lines of JSON, and one in msgpack in msgpack, unless Accept says otherwise.
    """

    __slots__ = ("_count", "_form", "_frames", "_held", "_session", "content_type", "stream")

    def __init__(
        self, stream: Scan | Iterate, content_type: str | None, accept: str | None, most: int
    ) -> None:
        """Raises RequestError: 415 or 406, the forms are none of those offered."""
        form = MSGPACK if requested(content_type, OFFERED) == MSGPACK else JSON
        wanted = [MSGPACK, NDJSON] if form == MSGPACK else [NDJSON, MSGPACK]
        self.content_type = accepted(accept, [*wanted, JSON])
        self.stream = stream
        self._form = MSGPACK if self.content_type == MSGPACK else JSON
        self._frames = frames(form, most)
        self._session = stream.session(form, self._form)
        self._count = 0
        self._held: tuple[int, Any] | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The answers to the lines that end in `data`, each computed when it is asked for.

        Raises:
            RequestError: says which line is wrong, and what was expected.
        """
        for line in self._lines(self._frames.feed(data)):
            if not self.stream.whole:
                yield from self._answers(*line)
            elif self._held is None:
                self._held = line
            else:
                raise self._wrong(RequestError(errors.ONE_LINE), line[0])

    def end(self) -> Iterator[bytes]:
        """The answers to what is left of the body, and the last line. Raises as `feed` does."""
        for line in self._lines(self._frames.end()):
            if self._held is not None:
                raise self._wrong(RequestError(errors.ONE_LINE), line[0])
            yield from self._answers(*line)
        if self._held is not None:
            yield from self._answers(*self._held)
        if self._session.state is None:
            raise RequestError(errors.EMPTY_STREAM.format(expected=show(self.stream.input)))
        yield frame(self._session.end(), self._form)

    def failed(self, error: str) -> bytes:
        """The last lines after an error: the state that was reached, and what is wrong."""
        said = frame(plain({"error": error}, self._form), self._form)
        reached = self._session.reached()
        return said if reached is None else frame(reached, self._form) + said

    def _lines(self, values: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        """The number of each line, and what it says."""
        try:
            for value in values:
                self._count += 1
                if self._count > MOST:
                    raise RequestError(errors.MANY_LINES.format(most=MOST), 413)
                yield self._frames.number, value
        except RequestError as error:
            raise self._wrong(error, self._frames.number) from None

    def _answers(self, number: int, line: Any) -> Iterator[bytes]:
        try:
            for answer in self._session.answers(line):
                yield frame(answer, self._form)
        except RequestError as error:
            raise self._wrong(error, number) from None

    def _wrong(self, error: RequestError, number: int) -> RequestError:
        return RequestError(f"{self._frames.name} {number}: {error}", error.status)
