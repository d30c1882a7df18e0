"""Requests come in any size, programs in a few: pad to the next, cut in pieces, join again."""

from __future__ import annotations

import re

from serve.arrays import Array, fit, join, piece
from serve.body.codec import checked
from serve.errors import RequestError
from serve.types import leaves

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from serve.types import Leaf

    Engine = Callable[[int, list[bytes]], list[tuple[str, tuple[int, ...], bytes]]]

MOST = 65_536  # rows in one request


class Batching:
    """`run(inputs)` is the outputs of the model for inputs of any size that it has programs for.

    A model works row by row along its batch, so running a batch in pieces changes nothing. Along
    another dimension it may do anything, such as take a mean, so nothing is padded there unless
    the bundle says that padding changes nothing.
    """

    __slots__ = ("batch", "engine", "exact", "inputs", "outputs", "programs", "sizes")

    def __init__(self, bundle: Any, engine: Engine) -> None:
        self.engine = engine
        self.inputs = list(leaves(bundle.input))
        self.outputs = list(leaves(bundle.output))
        self.batch: str | None = bundle.batch
        self.sizes: dict[str, list[int]] = bundle.sizes
        self.programs = {_key(p["sizes"]): i for i, p in enumerate(bundle.programs)}
        self.exact = self._exact() | {*self.sizes} - {self.batch} - _padded(bundle)

    def run(self, arrays: list[Array]) -> list[Array]:
        """The leaves of the output for the leaves of the input, both in type order.

        Raises:
            RequestError: the shapes do not fit the type, each other or any program.
        """
        sizes = self._bind(arrays)
        if self.batch is None or sizes[self.batch] <= self.sizes[self.batch][-1]:
            return self._once(arrays, sizes)
        largest, rows = self.sizes[self.batch][-1], sizes[self.batch]
        cuts = [(start, min(start + largest, rows)) for start in range(0, rows, largest)]
        pieces = [self._once(*self._piece(arrays, sizes, *cut)) for cut in cuts]
        return [
            join([one[i] for one in pieces], leaf.dims.index(self.batch))
            for i, leaf in enumerate(self.outputs)
        ]

    def _once(self, arrays: list[Array], sizes: dict[str, int]) -> list[Array]:
        """Run the smallest program that is large enough."""
        larger = {name: min(n for n in self.sizes[name] if n >= sizes[name]) for name in sizes}
        padded = [
            fit(a, _shape(leaf.dims, larger, a.shape))
            for a, leaf in zip(arrays, self.inputs, strict=True)
        ]
        results = self.engine(self.programs[_key(larger)], [a.data for a in padded])
        return [
            fit(Array(dtype, shape, data), _shape(leaf.dims, sizes, shape))
            for (dtype, shape, data), leaf in zip(results, self.outputs, strict=True)
        ]

    def _piece(
        self, arrays: list[Array], sizes: dict[str, int], start: int, stop: int
    ) -> tuple[list[Array], dict[str, int]]:
        cut = [
            piece(a, leaf.dims.index(self.batch), start, stop) if self.batch in leaf.dims else a
            for a, leaf in zip(arrays, self.inputs, strict=True)
        ]
        return cut, sizes | {self.batch or "": stop - start}

    def _bind(self, arrays: list[Array]) -> dict[str, int]:
        """The size of every named dimension."""
        if len(arrays) != len(self.inputs):
            raise RequestError(f"expected {len(self.inputs)} arrays, got {len(arrays)}")
        bound: dict[str, tuple[int, Leaf]] = {}
        for a, leaf in zip(arrays, self.inputs, strict=True):
            for dim, n in zip(leaf.dims, checked(a, leaf).shape, strict=True):
                if isinstance(dim, int):
                    if n != dim:
                        raise RequestError(f"{leaf.where}: expected {leaf}, got {_shown(a)}")
                    continue
                size, first = bound.setdefault(dim, (n, leaf))
                if n != size:
                    text = f"{leaf.where}: expected {dim} to be {size} in {leaf}, as in "
                    raise RequestError(f"{text}{first.where}, got {n}")
        for dim, (n, leaf) in bound.items():
            self._limit(dim, n, leaf)
        return {dim: n for dim, (n, _) in bound.items()}

    def _limit(self, dim: str, n: int, leaf: Leaf) -> None:
        if dim in self.exact:
            if n not in self.sizes[dim]:
                sizes = ", ".join(map(str, self.sizes[dim]))
                text = f"{leaf.where}: expected {dim} to be one of {sizes} in {leaf}, got {n}"
                raise RequestError(f"{text}: the model can not be padded along {dim}")
        else:
            most = MOST if dim == self.batch else self.sizes[dim][-1]
            if not 1 <= n <= most:
                text = f"{leaf.where}: expected {dim} from 1 to {most} in {leaf}, got {n}"
                raise RequestError(text)

    def _exact(self) -> set[str]:
        """The dimensions that neither padding nor cutting in pieces can change.

        An output of "2*b" rows does not tell which of them are padding. And an output that is
        not one row for each row of the batch may depend on all of the batch together.
        """
        dims = [dim for leaf in self.outputs for dim in leaf.dims if isinstance(dim, str)]
        exact = {name for dim in dims if dim not in self.sizes for name in re.findall(r"\w+", dim)}
        if self.batch is not None:
            cut = all(leaf.dims.count(self.batch) <= 1 for leaf in self.inputs)
            joined = all(leaf.dims.count(self.batch) == 1 for leaf in self.outputs)
            exact |= set() if cut and joined else {self.batch}
        return exact & set(self.sizes)


def _padded(bundle: Any) -> set[str]:
    """The dimensions that the bundle says may be padded: by name, or since a mask tells texts."""
    text = getattr(bundle, "text", None)
    masked = {text["length"]} if text is not None and text["mask"] is not None else set()
    return masked | {*getattr(bundle, "padded", ())}


def _key(sizes: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(sizes.items()))


def _shape(
    dims: tuple[int | str, ...], sizes: dict[str, int], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The shape with its named dimensions replaced by their sizes."""
    return tuple(sizes.get(str(dim), n) for dim, n in zip(dims, shape, strict=True))


def _shown(a: Array) -> str:
    return f"{a.dtype}[{', '.join(map(str, a.shape))}]"
