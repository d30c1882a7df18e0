"""Doing the same a number of times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from lamda import errors, types
from lamda.kind import Kind
from lamda.types import Type


@dataclass(frozen=True)
class Iterate(Kind):
    """``Iterate(n)(f)`` at ``x`` is ``f(f(... x))``, ``n`` times, as one loop."""

    name: ClassVar[str] = "iterate"
    count: int

    def inputs(self, input: Type, count: int) -> Sequence[Type]:
        return [input]

    def output(self, input: Type, outputs: Sequence[Type]) -> Type:
        if types.plain(outputs[0]) != types.plain(input):
            given, wanted = types.show(outputs[0]), types.show(input)
            raise errors.MismatchError(errors.LOOP_OUTPUT.format(given=given, wanted=wanted))
        return input

    def declared(self, bodies: Sequence[Type | None]) -> Type | None:
        return bodies[0]

    def run(self, bodies: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        # A scan and not a fori_loop: it has a derivative in both directions.
        return jax.lax.scan(lambda x, _: (bodies[0](x), None), x, None, length=self.count)[0]
