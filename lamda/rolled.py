"""A run of equal blocks with different weights, as one application."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Rolled:
    """``count`` blocks, one after another, each of its own weights: one scanned body.

    ``stacked`` says which of its weights have one part for each block along a new first axis;
    the others are tied: every block reads the same.
    """

    count: int
    stacked: tuple[bool, ...]

    @property
    def name(self) -> str:
        """How it is called."""
        return f"{self.count} times"

    def run(
        self, block: Callable[[Sequence[Any], Any], Any], weights: Sequence[Any], x: Any
    ) -> Any:
        """The carried values after the last block, for ``x = (carried, the same in all blocks)``.

        ``block(weights, (carried, same))`` gives the carried values for the next one.
        """
        carried, same = x
        own = [w for w, each in zip(weights, self.stacked, strict=True) if each]

        def step(carried: Any, own: Sequence[Any]) -> tuple[Any, None]:
            rest = iter(own)
            given = [
                next(rest) if each else w for w, each in zip(weights, self.stacked, strict=True)
            ]
            return block(given, (carried, same)), None

        return jax.lax.scan(step, carried, own, length=self.count)[0]
