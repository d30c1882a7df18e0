"""Batches: what each step takes, from examples that are all here, or that come one by one."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lamda import errors, types
from lamda.address import sha256
from lamda.fit.checkpoint import State
from lamda.fit.examples import RESIDENT, Examples, data_address, nbytes, require_input
from lamda.fit.loop import LOOK
from lamda.fit.order import Order
from lamda.model import Model

RECENT = 256 << 20
"""Bytes of the batches of a stream that are kept, twice, until their losses are looked at."""
Draw = Callable[[int], Any]
"""The random key of a step, as numbers; none where nothing is random."""


class Steps(Protocol):
    """What a step is computed by, of examples that are there, or of those of a batch."""

    of_rows: Callable[..., Any]
    of_batch: Callable[..., Any]

    def everywhere(self, tree: Any) -> Any:
        """Arrays where they are computed with."""
        ...


class Rows:
    """Batches of examples that are all here, in the order of a key."""

    seen = ""
    window = LOOK

    def __init__(
        self, compiled: Steps, features: Any, examples: Examples, order: Order, draw: Draw
    ) -> None:
        data = (features, examples.targets)
        self._there = nbytes(data) <= RESIDENT
        self._data = compiled.everywhere(data) if self._there else jax.tree.map(np.asarray, data)
        self._examples, self._order, self._draw = examples, order, draw
        self.step = compiled.of_rows if self._there else compiled.of_batch

    def batch(self, step: int) -> tuple[Any, ...]:
        rows = self._order.rows(step)
        if self._there:
            return self._data, rows, self._draw(step)
        return (*jax.tree.map(lambda a: a[rows], self._data), self._draw(step))

    def address(self, step: int) -> str:
        return data_address(*self._examples.rows(self._order.rows(step)))

    def skip(self, state: State) -> None:
        """Any step may be the first."""


class Stream:
    """The batches of an iterable of ``(inputs, targets)``, over and over for so many epochs."""

    def __init__(
        self, model: Model, data: Iterable[Any], epochs: int, front: Callable[[Any], Any],
        draw: Draw,
    ) -> None:  # fmt: skip
        self._model, self._data, self._epochs = model, data, epochs
        self._front, self._draw = front, draw
        self._items = iter(self._again())
        self._next = 0
        self.window = 1
        self._recent: OrderedDict[int, tuple[Any, Any]] = OrderedDict()
        self.seen = ""

    def first(self) -> tuple[Any, Any]:
        """The first batch. Raises SpecError where there is none."""
        found = self._at(0)
        if found is None:
            raise errors.SpecError(errors.FIT_DATA.format(given="an iterable that is empty"))
        return found

    @property
    def size(self) -> int:
        """The examples of the first batch."""
        return len(jax.tree.leaves(self.first())[0])

    def batch(self, step: int) -> tuple[Any, ...] | None:
        found = self._at(step)
        return None if found is None else (self._front(found[0]), found[1], self._draw(step))

    def address(self, step: int) -> str:
        found = self._at(step)
        assert found is not None
        return data_address(*found)

    def skip(self, state: State) -> None:
        """Go on after a state. Raises SpecError where other batches have come than before."""
        self._at(state.step - 1)
        if self.seen != state.seen:
            raise errors.SpecError(errors.FIT_OTHER_STREAM.format(step=state.step))

    def _at(self, step: int) -> tuple[Any, Any] | None:
        """The batch of a step: the next one, or one of the latest."""
        while self._next <= step:
            found = next(self._items, None)
            if found is None:
                return None
            self._recent[self._next] = found
            self._next += 1
            if self._next == 1:
                self.window = max(1, min(LOOK, RECENT // max(1, nbytes(found))))
            if len(self._recent) > 2 * self.window:
                self._recent.popitem(last=False)
            self.seen = sha256(["stream", self.seen, data_address(*found)])
        return self._recent[step]

    def _again(self) -> Iterator[tuple[Any, Any]]:
        for _ in range(self._epochs):
            for item in self._data:
                yield self._checked(item)

    def _checked(self, item: Any) -> tuple[Any, Any]:
        if not isinstance(item, tuple | list) or len(item) != 2:
            said = f"a batch that is {type(item).__name__}"
            raise errors.SpecError(errors.FIT_DATA.format(given=said))
        inputs, targets = (jax.tree.map(jnp.asarray, part) for part in item)
        rows = {a.shape[:1] for a in jax.tree.leaves((inputs, targets))}
        if len(rows) != 1 or () in rows:
            pair = types.show(types.typeof((inputs, targets)))
            raise errors.SpecError(errors.FIT_DATA.format(given=pair))
        require_input(self._model, inputs)
        return inputs, targets
