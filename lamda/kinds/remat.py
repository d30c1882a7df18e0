"""Computing again what could be kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from lamda.kind import Kind
from lamda.types import Type


@dataclass(frozen=True)
class Remat(Kind):
    """``Remat()(f)`` at ``x`` is ``f(x)``; its derivative computes the inside of ``f`` again."""

    name: ClassVar[str] = "remat"
    transparent: ClassVar[bool] = True

    def inputs(self, input: Type, count: int) -> Sequence[Type]:
        return [input]

    def output(self, input: Type, outputs: Sequence[Type]) -> Type:
        return outputs[0]

    def declared(self, bodies: Sequence[Type | None]) -> Type | None:
        return bodies[0]

    def run(self, bodies: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        return jax.checkpoint(bodies[0])(x)
