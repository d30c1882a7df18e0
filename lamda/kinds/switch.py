"""Choosing one of several functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from lamda import errors, types
from lamda.kind import Kind
from lamda.types import ArrayType, Type


@dataclass(frozen=True)
class Switch(Kind):
    """``Switch()(f, g, ...)`` at ``(i, x)`` is the ``i``-th of ``f(x), g(x), ...``; one runs.

    ``i`` is a whole number or a truth value, clamped into range. All give one type.
    """

    name: ClassVar[str] = "switch"

    def inputs(self, input: Type, count: int) -> Sequence[Type]:
        match input:
            case (ArrayType(dtype, ()), taken) if dtype == "bool" or "int" in dtype:
                return [taken] * count
        text = errors.SWITCH_INPUT.format(given=types.show(input))
        raise errors.MismatchError(text)

    def output(self, input: Type, outputs: Sequence[Type]) -> Type:
        for number, output in enumerate(outputs):
            if types.plain(output) != types.plain(outputs[0]):
                given, wanted = types.show(output), types.show(outputs[0])
                text = errors.SWITCH_OUTPUT.format(number=number, given=given, wanted=wanted)
                raise errors.MismatchError(text)
        return outputs[0]

    def run(self, bodies: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        index, value = x
        return jax.lax.switch(jnp.asarray(index, jnp.int32), list(bodies), value)
