"""The order of examples: every example once before any comes again, as a key says."""

from functools import lru_cache

import jax
import numpy as np


class Order:
    """``order.rows(i)`` is the rows of step ``i``; any step may be asked for first."""

    def __init__(self, key: jax.Array, count: int, batch: int) -> None:
        self.count, self.size = count, min(batch, count)

        @lru_cache(maxsize=4)
        def epoch(number: int) -> np.ndarray:
            order = jax.random.permutation(jax.random.fold_in(key, number), count)
            return np.asarray(order, np.int32)

        self._epoch = epoch

    @property
    def steps(self) -> int:
        """The steps that it takes to see every example."""
        return -(-self.count // self.size)

    def rows(self, step: int) -> np.ndarray:
        """``size`` rows: from the orders of all epochs, one after the other."""
        start = step * self.size
        first, last = start // self.count, (start + self.size - 1) // self.count
        parts = [
            self._epoch(number)[max(start - number * self.count, 0) :][: self.size]
            for number in range(first, last + 1)
        ]
        return parts[0] if first == last else np.concatenate(parts)[: self.size]
