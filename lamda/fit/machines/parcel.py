"""Parcels: the arguments of a fit as numbers and bytes, to be sent to machines.

A model travels as the files of a store, so what is trained there is what its address says; only a
loss, an optimiser and the like travel as Python. Numbers are NumPy arrays, which Ray shares
between the processes of a machine and sends to each machine once.
"""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lamda import errors
from lamda.fit.examples import Examples, given, is_stream
from lamda.fit.fit import fit
from lamda.fit.loop import Callback
from lamda.model import Model
from lamda.store import Store
from lamda.term import lifts

SAME = (
    "jax_default_matmul_precision", "jax_default_prng_impl", "jax_enable_x64",
    "jax_threefry_partitionable",
)  # fmt: skip
"""The settings of JAX that change numbers: they are there what they are here."""


class Sent(NamedTuple):
    """Examples with the address that they have here."""

    pair: Any
    address: str

    @classmethod
    def of(cls, model: Model, data: Any) -> "Sent":
        """Examples that fit a model. Raises SpecError, MismatchError."""
        if is_stream(data):
            raise errors.SpecError(errors.MACHINES_STREAM)
        found: Examples = given(model, data)
        return cls(jax.device_get((found.inputs, found.targets)), found.address)

    def arrays(self) -> Any:
        """Inputs and targets."""
        return self.pair


@dataclass(frozen=True)
class Parcel:
    """The arguments of a fit."""

    files: Mapping[str, np.ndarray]
    """Those of a store that has the model, and nothing else."""
    address: str
    source: bool
    """Whether Python of the model is among them: what a stored program can not do needs it, which
    is to compute in another dtype, and to draw.
    """
    data: Sent
    eval: Sent | None
    key: tuple[np.ndarray, str]
    config: Mapping[str, Any]
    python: Mapping[str, Any]
    """All other arguments: Ray sends them by cloudpickle, and nothing else here reads pickles."""
    store: str | None

    @classmethod
    def of(
        cls, model: Model, data: Any, *, key: jax.Array,
        eval: Any = None, store: Store | None = None, **how: Any,
    ) -> "Parcel":  # fmt: skip
        """The parcel. Raises SpecError for what can not be sent, and as :func:`fit` for data."""
        try:
            import cloudpickle
        except ImportError:
            text = errors.NO_EXTRA.format(package="cloudpickle", extra="author")
            raise errors.SpecError(text) from None
        source = how.get("dtype") is not None or _random(model)
        sent, held = Sent.of(model, data), None if eval is None else Sent.of(model, eval)
        numbers = np.asarray(jax.random.key_data(key)), str(jax.random.key_impl(key))
        config = {name: getattr(jax.config, name) for name in SAME}
        if how.get("checkpoint") is not None:
            how["checkpoint"] = Path(how["checkpoint"]).absolute()
        try:
            cloudpickle.dumps(how)  # what can not be sent is told now
        except Exception as error:  # whatever they have captured
            text = errors.MACHINES_PICKLED.format(error=error)
            raise errors.SpecError(text) from error
        files = _packed(model, source)
        return cls(files, model.address, source, sent, held, numbers, config, how, _place(store))

    def fit(self, devices: list[Any], told: Callback | None) -> Model:
        """The successor, by the devices of every machine; each of them does this."""
        with tempfile.TemporaryDirectory() as folder:
            for name, bytes in self.files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bytes.data)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # whose Python it is, is known
                model = Store(folder).get(self.address, trust_source=self.source)
            return fit(
                model, self.data, eval=self.eval, devices=devices,
                key=jax.random.wrap_key_data(jnp.asarray(self.key[0]), impl=self.key[1]),
                store=None if self.store is None else Store(self.store),
                callbacks=[] if told is None else [told], progress=False,
                **self.python,
            )  # fmt: skip


def _place(store: Store | None) -> str | None:
    """The directory of a store, or the URL of its remote."""
    remote = getattr(store, "remote", None)
    return remote.url if remote else None if store is None else str(Path(store.path).absolute())


def _random(model: Model) -> bool:
    return any(lift.function.sample is not None for _, lift in lifts(model.term))


def _packed(model: Model, source: bool) -> dict[str, np.ndarray]:
    """The files of a store that has a model, and none of those before it."""
    alone = model.derive(model.term, model.environment)
    with tempfile.TemporaryDirectory() as folder:
        Store(folder).put(alone, source=source)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): np.fromfile(path, np.uint8) for path in files}
