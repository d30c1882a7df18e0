"""Processes: devices that are not all of this one, and what their processes have to agree on.

Each process runs the same program on the same inputs (``jax.distributed.initialize``), and the
steps keep pace, since each waits for the sums of the others. So what one process decides alone,
by a clock, a disk or a rounding, would leave the others waiting for ever: it is told to all.

Source: https://docs.jax.dev/en/latest/multi_process.html.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lamda import errors


@dataclass(frozen=True)
class Processes:
    """Those whose devices compute a step; ``devices`` is ``None`` where that is one device."""

    devices: np.ndarray | None

    @property
    def count(self) -> int:
        """How many there are."""
        return max(1, len(self._numbers()))

    @property
    def several(self) -> bool:
        """Whether some of the devices are of another process than this one."""
        return any(number != jax.process_index() for number in self._numbers())

    @property
    def first(self) -> bool:
        """Whether this process keeps what is to be kept once, and draws the bar."""
        return not self.several or jax.process_index() == min(self._numbers())

    def require_same(self, what: str, value: str) -> None:
        """Raises MachineError unless every process says the same; each of them does."""
        if self.several:
            digest = hashlib.sha256(value.encode()).digest()
            said = self._gathered(np.frombuffer(digest, np.int32))
            if (said != said[0]).any():
                raise errors.MachineError(errors.MACHINES_DIFFER.format(what=what, here=value))

    def agreed(self, number: float) -> float:
        """What the first process says."""
        if not self.several:
            return number
        told = self._gathered(np.array([number], np.float64).view(np.int32))
        return float(told[:1].view(np.float64)[0, 0])

    def wait(self) -> None:
        """Until every process is here."""
        self.agreed(0.0)

    def _numbers(self) -> set[int]:
        return set() if self.devices is None else {each.process_index for each in self.devices.flat}

    def _gathered(self, row: Any) -> np.ndarray:
        """What every process says, a row for each device."""
        assert self.devices is not None
        mesh = Mesh(self.devices.ravel(), ("said",))
        apart, all = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("said",), ()))
        shape = (self.devices.size, row.size)
        told = jax.make_array_from_callback(shape, apart, lambda _: row[None])
        return np.asarray(jax.jit(_same, out_shardings=all)(told))


def _same(array: Any) -> Any:
    return array
