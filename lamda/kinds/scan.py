"""Going through time with a state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from lamda import errors, types
from lamda.kind import Kind
from lamda.kinds.axis import along, first, without
from lamda.types import Type


@dataclass(frozen=True)
class Scan(Kind):
    """``Scan()(f)`` at ``(s, xs)`` is ``(s', ys)``: ``(s, y) = f((s, x))`` for each ``x`` of ``xs``.

    The state keeps its type; ``xs`` and ``ys`` have one element for each step along their first
    axis (``jax.lax.scan``).
    """

    name: ClassVar[str] = "scan"

    def inputs(self, input: Type, count: int) -> Sequence[Type]:
        if isinstance(input, tuple) and len(input) == 2 and first(input[1]) is not None:
            return [(input[0], without(input[1]))]
        raise errors.MismatchError(errors.SCAN_INPUT.format(given=types.show(input)))

    def output(self, input: Type, outputs: Sequence[Type]) -> Type:
        (output,) = outputs
        assert isinstance(input, tuple)
        state, steps = input[0], first(input[1])
        fits = isinstance(output, tuple) and len(output) == 2
        if not fits or types.plain(output[0]) != types.plain(state) or steps is None:
            given, wanted = types.show(output), types.show(state)
            raise errors.MismatchError(errors.SCAN_OUTPUT.format(given=given, wanted=wanted))
        return state, along(steps, output[1])

    def run(self, bodies: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        (body,) = bodies
        state, xs = x
        return jax.lax.scan(lambda s, x: body((s, x)), state, xs)
