"""Doing the same until something holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from lamda import errors, types
from lamda.kind import Kind
from lamda.types import ArrayType, Type


@dataclass(frozen=True)
class Until(Kind):
    """``Until()(f, p)`` at ``x`` is the first of ``x, f(x), f(f(x)), ...`` where ``p`` holds.

    It has no derivative in reverse (``jax.lax.while_loop``).
    """

    name: ClassVar[str] = "until"

    def inputs(self, input: Type, count: int) -> Sequence[Type]:
        return [input, input]

    def output(self, input: Type, outputs: Sequence[Type]) -> Type:
        body, done = outputs
        if types.plain(body) != types.plain(input):
            given, wanted = types.show(body), types.show(input)
            raise errors.MismatchError(errors.LOOP_OUTPUT.format(given=given, wanted=wanted))
        if done != ArrayType("bool", ()):
            raise errors.MismatchError(errors.UNTIL_OUTPUT.format(given=types.show(done)))
        return input

    def declared(self, bodies: Sequence[Type | None]) -> Type | None:
        return bodies[0] if bodies[0] is not None else bodies[1]

    def run(self, bodies: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        body, done = bodies
        return jax.lax.while_loop(lambda x: jnp.logical_not(done(x)), body, x)
