"""Mapping over the first axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from lamda import errors, types
from lamda.kind import Kind
from lamda.kinds.axis import along, first, free, without
from lamda.types import Type


@dataclass(frozen=True)
class Vmap(Kind):
    """``Vmap()(f)`` at ``xs`` is ``f(x)`` for each ``x`` along the first axis, all at once."""

    name: ClassVar[str] = "vmap"

    def inputs(self, input: Type, count: int) -> Sequence[Type]:
        if first(input) is None:
            raise errors.MismatchError(errors.VMAP_INPUT.format(given=types.show(input)))
        return [without(input)]

    def output(self, input: Type, outputs: Sequence[Type]) -> Type:
        size = first(input)
        assert size is not None
        return along(size, outputs[0])

    def declared(self, bodies: Sequence[Type | None]) -> Type | None:
        return None if bodies[0] is None else along(free(bodies[0]), bodies[0])

    def run(self, bodies: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        try:
            return jax.vmap(bodies[0])(x)
        except NotImplementedError:
            # A stored program has no batching rule; it runs on one element after the other.
            return jax.lax.map(bodies[0], x)
