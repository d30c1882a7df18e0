"""Streams through a scan: a state and elements in, a result for each element out, and the state."""

from __future__ import annotations

from math import prod

from serve import errors
from serve.arrays import SIZES, Array, join, piece
from serve.batching import Batching
from serve.body import codec
from serve.errors import RequestError
from serve.stream.line import MOST, Part, expect
from serve.types import leaves

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from serve.batching import Engine
    from serve.types import Type


class Scan:
    """`scan(f)`: the state and the elements in, the state and a result for each element out.

    It runs along its axis in pieces of the sizes that there are programs for, the largest first,
    and hands the state on. Nothing is padded along it: padding would be steps as well.
    """

    kind = "scan"
    whole = False  # the request need not be complete before it is answered

    __slots__ = ("_input", "_line", "axis", "bundle", "input", "output", "sizes", "states")

    def __init__(self, bundle: Any, engine: Engine) -> None:
        self.bundle = bundle
        self.axis: str = bundle.stream["scan"]
        self.sizes = sorted(bundle.sizes[self.axis], reverse=True)
        (state, xs), (_, ys) = bundle.input["tuple"], bundle.output["tuple"]
        self.states = len(list(leaves(state)))
        # Sorted by key, so the leaves are in the order of the pairs that they stand for.
        self.input: Type = {"dict": {"state": state, "xs": xs}}
        self.output: Type = {"dict": {"state": state, "ys": ys}}
        self._input = Batching(bundle, engine)
        self._line = Batching(Part(bundle, self.input, self.output, bundle.programs), engine)

    def run(self, arrays: list[Array]) -> list[Array]:
        """The state after and the results, for the state before and the elements.

        Raises:
            RequestError: the shapes do not fit the type, each other or any program.
        """
        return self._run(self._input, arrays)

    def session(self, asked: str, wanted: str) -> ScanSession:
        """One stream of answers, in the form that is wanted, to lines in the form asked in."""
        return ScanSession(self, asked, wanted)

    def example(self) -> list[Any]:
        """The lines of a request, as JSON values."""
        _, xs = self.bundle.example
        return [{"xs": xs}, {"xs": xs}]

    def start(self, xs: list[Array]) -> list[Array]:
        """The state before the first element: zeros, as large as the elements ask for."""
        of = list(leaves(self.input))
        sizes = {name: numbers[0] for name, numbers in self.bundle.sizes.items()}
        for leaf, a in zip(of[self.states :], xs, strict=True):
            sizes |= {d: n for d, n in zip(leaf.dims, a.shape, strict=True) if isinstance(d, str)}
        shapes = [tuple(sizes.get(str(d), d) for d in leaf.dims) for leaf in of[: self.states]]
        return [
            Array(leaf.dtype, shape, bytes(prod(shape) * SIZES[leaf.dtype]))
            for leaf, shape in zip(of, shapes, strict=False)
        ]

    def after(self, state: list[Array], xs: list[Array]) -> tuple[list[Array], list[Array]]:
        """The state after the elements, and their results."""
        found = self._run(self._line, [*state, *xs])
        return found[: self.states], found[self.states :]

    def _run(self, batching: Batching, arrays: list[Array]) -> list[Array]:
        state, xs = arrays[: self.states], arrays[self.states :]
        total, done = self._length(batching, xs), 0
        found: list[list[Array]] = []
        while done < total:
            size = next(n for n in self.sizes if n <= total - done)
            part = [piece(a, 0, done, done + size) for a in xs] if size < total else xs
            outputs = batching.run([*state, *part])
            state, done = outputs[: self.states], done + size
            found.append(outputs[self.states :])
        ys = [join(list(parts), 0) for parts in zip(*found, strict=True)]
        return [*state, *ys]

    def _length(self, batching: Batching, xs: list[Array]) -> int:
        """The number of elements, which all leaves agree on."""
        for leaf, a in zip(batching.inputs[self.states :], xs, strict=True):
            n, total = codec.checked(a, leaf).shape[0], xs[0].shape[0]
            if n != total or not 1 <= n <= MOST:
                expected = str(total) if 1 <= total <= MOST else f"from 1 to {MOST}"
                raise RequestError(
                    errors.WRONG_LENGTH.format(
                        where=leaf.where, dim=self.axis, expected=expected, leaf=leaf, found=n
                    )
                )
        return xs[0].shape[0]


class ScanSession:
    """One stream through a scan: `answers` for each line, `end` after the last."""

    __slots__ = ("_first", "asked", "scan", "state", "wanted")

    def __init__(self, scan: Scan, asked: str, wanted: str) -> None:
        self.scan = scan
        self.asked = asked
        self.wanted = wanted
        self.state: list[Array] | None = None
        self._first = True

    def answers(self, line: Any) -> Iterator[bytes]:
        """The results for the elements of one line, if it has some; the first may have a state.

        Raises:
            RequestError: the line is not one.
        """
        keys = self.scan.input["dict"]
        if self._first:
            self._first = False
            expect(line, keys)
            if line.get("state") is not None:
                self.state = codec.flatten(line["state"], self.asked, keys["state"], ("state",))
        else:
            expect(line, {"xs": keys["xs"]})
        if "xs" in line:
            xs = codec.flatten(line["xs"], self.asked, keys["xs"], ("xs",))
            before = self.scan.start(xs) if self.state is None else self.state
            self.state, ys = self.scan.after(before, xs)
            yield codec.encode(ys, self.wanted, {"dict": {"ys": self.scan.output["dict"]["ys"]}})

    def end(self) -> bytes:
        """The state after the last element."""
        reached = self.reached()
        assert reached is not None
        return reached

    def reached(self) -> bytes | None:
        """The state so far, with which another request goes on; None where there is none yet."""
        if self.state is None:
            return None
        of = {"dict": {"state": self.scan.input["dict"]["state"]}}
        return codec.encode(self.state, self.wanted, of)
