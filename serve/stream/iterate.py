"""Streams through an iteration: a state in, and the states that follow it out."""

from __future__ import annotations

from serve import errors
from serve.batching import Batching
from serve.body import codec
from serve.body.lists import shown
from serve.errors import RequestError
from serve.stream.frames import plain
from serve.stream.line import MOST, Part, expect

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from serve.arrays import Array
    from serve.batching import Engine
    from serve.types import Type

COUNT: Type = {"array": ["int32", []]}


class Iterate:
    """`iterate(f)`: a state in, and the states that follow it out, one after the other."""

    kind = "iterate"
    whole = True  # the request is one line, and complete before it is answered

    __slots__ = ("_done", "_step", "_whole", "bundle", "input", "output", "steps")

    def __init__(self, bundle: Any, engine: Engine) -> None:
        entry = bundle.stream["iterate"]
        self.bundle = bundle
        self.steps: int | None = entry["n"]
        self.input: Type = {"dict": {"state": bundle.input}}
        self.output = self.input
        ends = [0]
        for programs in (bundle.whole, entry["step"], entry["done"] or ()):
            ends.append(ends[-1] + len(programs))

        def part(input: Type, output: Type, at: int) -> Batching:
            programs = bundle.programs[ends[at] : ends[at + 1]]
            first = ends[at]
            return Batching(
                Part(bundle, input, output, programs),
                lambda index, inputs: engine(first + index, inputs),
            )

        self._whole = part(bundle.input, bundle.output, 0)
        self._step = part(self.input, self.output, 1)
        self._done = part(self.input, {"array": ["bool", []]}, 2) if entry["done"] else None
        if self._done is not None:
            # A test looks at all rows together, and a row of zeros may never pass it.
            self._whole.exact = self._step.exact = set(bundle.sizes)

    def run(self, arrays: list[Array]) -> list[Array]:
        """The last state for the first.

        Raises:
            RequestError: the shapes do not fit the type, each other or any program.
        """
        return self._whole.run(arrays)

    def session(self, asked: str, wanted: str) -> IterateSession:
        """One stream of answers, in the form that is wanted, to a line in the form asked in."""
        return IterateSession(self, asked, wanted)

    def example(self) -> list[Any]:
        """The lines of a request, as JSON values."""
        return [{"state": self.bundle.example}]

    def after(self, state: list[Array]) -> list[Array]:
        """The next state."""
        return self._step.run(state)

    def done(self, state: list[Array]) -> bool:
        """Does the test hold? Without one it never does."""
        return self._done is not None and self._done.run(state)[0].data != b"\0"


class IterateSession:
    """One stream through an iteration: the answers to its one line, and whether it is done."""

    __slots__ = ("asked", "done", "iterate", "state", "wanted")

    def __init__(self, iterate: Iterate, asked: str, wanted: str) -> None:
        self.iterate = iterate
        self.asked = asked
        self.wanted = wanted
        self.state: list[Array] | None = None
        self.done = False

    def answers(self, line: Any) -> Iterator[bytes]:
        """The states that follow the one in the line, each computed when it is asked for.

        Raises:
            RequestError: the line is not one.
        """
        keys = self.iterate.input["dict"]
        expect(line, keys, {"n": COUNT})
        n = self._count(line.get("n"))
        state = self.state = codec.flatten(line["state"], self.asked, keys["state"], ("state",))
        self.done = self.iterate.done(state)
        for _ in range(n):
            if self.done:
                return
            state = self.state = self.iterate.after(state)
            self.done = self.iterate.done(state)
            yield codec.encode(state, self.wanted, self.iterate.output)
        self.done = self.done or n == self.iterate.steps

    def end(self) -> bytes:
        """Whether the last state is the answer of the whole."""
        return plain({"done": self.done}, self.wanted)

    def reached(self) -> bytes | None:
        """Nothing: every state has been an answer."""
        return None

    def _count(self, given: Any) -> int:
        most = MOST if self.iterate.steps is None else self.iterate.steps
        n = most if given is None else given
        if type(n) is not int or not 0 <= n <= most:
            raise RequestError(errors.WRONG_STEPS.format(most=most, found=shown(given)))
        return n
