"""Going through time with a state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from lamda import errors, types
from lamda.kind import Kind
from lamda.kinds.axis import along, first, free, without
from lamda.types import Type


@dataclass(frozen=True)
class Scan(Kind):
    """``Scan()(f)`` at ``(s, xs)`` is ``(s, ys)`` after ``(s, y) = f((s, x))`` for each ``x``.

    The state keeps its type; ``xs`` and ``ys`` have one element for each step along their first
    axis (``jax.lax.scan``).
    """

    name: ClassVar[str] = "scan"

    def inputs(self, input: Type, count: int) -> Sequence[Type]:
        match input:
            case (state, xs) if first(xs) is not None:
                return [(state, without(xs))]
        raise errors.MismatchError(errors.SCAN_INPUT.format(given=types.show(input)))

    def output(self, input: Type, outputs: Sequence[Type]) -> Type:
        assert isinstance(input, tuple)
        state, steps = input[0], first(input[1])
        match outputs:
            case [(after, y)] if types.plain(after) == types.plain(state) and steps is not None:
                return state, along(steps, y)
        given, wanted = types.show(outputs[0]), types.show(state)
        raise errors.MismatchError(errors.SCAN_OUTPUT.format(given=given, wanted=wanted))

    def declared(self, bodies: Sequence[Type | None]) -> Type | None:
        match bodies[0]:
            case (state, element):
                return state, along(free(bodies[0]), element)
        return None

    def run(self, bodies: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        (body,) = bodies
        state, xs = x
        return jax.lax.scan(lambda s, x: body((s, x)), state, xs)
