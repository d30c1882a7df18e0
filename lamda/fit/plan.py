"""The plan of a run: one step, and the receipt of all that goes into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import digest, errors
from lamda.fit.processes import Processes
from lamda.fit.programs import Compiled, exported
from lamda.fit.split import Split
from lamda.fit.step import Loss, Step, struct
from lamda.model import Model
from lamda.receipt import Receipt

COMPUTED = ("bfloat16", "float32", "float64")
"""The dtypes that a step may be computed in; float16 would need its losses scaled."""


@dataclass(frozen=True)
class Plan:
    """How a model is trained."""

    split: Split
    step: Step
    key: jax.Array
    devices: np.ndarray | None

    @property
    def processes(self) -> Processes:
        """Those that the devices are of."""
        return Processes(self.devices)

    @classmethod
    def of(
        cls,
        model: Model,
        loss: Loss,
        optimizer: Any,
        key: jax.Array,
        accumulate: int = 1,
        dtype: Any = None,
        devices: int | Sequence[Any] | None = None,
    ) -> "Plan":
        """The plan. Raises SpecError where there is nothing to train, or it can not be so."""
        split = Split.of(model)
        computed = None if dtype is None else _computed(dtype)
        generator = jax.random.key_impl(key)
        step = Step(model, split.back, loss, optimizer, generator, accumulate, computed)
        return cls(split, step, key, _devices(devices))

    def require_parts(self, size: int) -> None:
        """Raises SpecError unless a batch of so many examples can be shared as it is to be."""
        if size % self.step.accumulate:
            said = {"batch": size, "accumulate": self.step.accumulate}
            raise errors.SpecError(errors.FIT_ACCUMULATE.format(**said))
        count = 1 if self.devices is None else len(self.devices)
        if size // self.step.accumulate % count:
            raise errors.SpecError(errors.FIT_DEVICES.format(batch=size, devices=count))

    def receipt(self, types: tuple[Any, Any], data: str, **said: Any) -> Receipt:
        """All that goes into the run; ``types`` are those of a step's features and targets."""
        model = self.split.model
        loss, optimizer = self.step.addresses(model.weights, *types)
        key = np.asarray(jax.random.key_data(self.key)).ravel().tolist()
        return Receipt(
            model=model.address, trained=self.split.trained, data=data, loss=loss,
            optimizer=optimizer, key=tuple(key), generator=str(self.step.generator),
            random=self._random(types), accumulate=self.step.accumulate,
            dtype=self.step.dtype or "", devices=1 if self.devices is None else len(self.devices),
            machines=self.processes.count, jax=jax.__version__, platform=jax.default_backend(),
            **said,
        )  # fmt: skip

    def _random(self, types: tuple[Any, Any]) -> str:
        drawn = self.split.draw(self.key)(0)
        if drawn is None:
            return ""
        weights = jax.tree.map(struct, self.split.model.weights)
        state = jax.eval_shape(self.step.init, weights)
        still = jax.tree.map(struct, self.step.fixed)
        return digest.of_function(self.step, weights, state, *types, struct(drawn), still)

    def compiled(self, types: tuple[Any, Any]) -> Compiled:
        """The programs of a step, and what runs them here."""
        drawn = self.split.draw(self.key)(0)
        programs = exported(self.step, self.split.model.weights, *types, drawn)
        return Compiled(programs, self.step.fixed, self.devices)


def _computed(dtype: Any) -> str:
    try:
        name = jnp.dtype(dtype).name
    except TypeError:
        name = ""
    if name not in COMPUTED:
        raise errors.SpecError(errors.FIT_COMPUTED.format(given=dtype))
    return name


def _devices(given: int | Sequence[Any] | None) -> np.ndarray | None:
    """The devices, where they are several. Raises SpecError where there are not so many."""
    if given is None or given == 1:
        return None
    if isinstance(given, int):
        here = jax.devices()
        if not 1 <= given <= len(here):
            raise errors.SpecError(errors.FIT_NO_DEVICES.format(given=given, here=len(here)))
        given = here[:given]
    return np.array(given)
