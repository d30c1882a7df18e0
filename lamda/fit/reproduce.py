"""Reproducing: what was trained is trained again, by the programs of its receipt.

Neither the loss nor the optimiser is needed in Python: the store has the program of a step.
"""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from lamda import errors
from lamda.fit.batches import Rows
from lamda.fit.examples import Examples, given
from lamda.fit.holdout import parted
from lamda.fit.order import Order
from lamda.fit.programs import Compiled, Programs
from lamda.fit.run import Run
from lamda.fit.split import Split
from lamda.fit.step import fixed
from lamda.model import Model
from lamda.receipt import PROGRAMS, Receipt
from lamda.versions import pred

if TYPE_CHECKING:
    from lamda.store import Store


class Reproduced(NamedTuple):
    """What came of training a version again."""

    ref: str
    wanted: str
    """The address of the version."""
    found: str
    """The address of what training gave now."""
    notes: tuple[str, ...]
    """What is other than it was then, and may be why these differ."""

    @property
    def same(self) -> bool:
        """Whether it is the same function, to the bit."""
        return self.wanted == self.found


def reproduce(store: "Store", ref: str, data: Any = None, *, progress: bool = True) -> Reproduced:
    """Train the version of a ref again from what its receipt names, and compare addresses.

    The model before it, the data and the programs of a step are those of the store; ``data`` may
    be given where the store does not have it: what was trained on, or what that is a part of.
    Nothing is put, no ref moves.

    Raises SpecError where the version was not trained by :func:`fit`, or on a stream, or ``data``
    is other data; MissingError where the store lacks what the receipt names.
    """
    model = store.get(ref)
    receipt, programs, before = recorded(model, ref)
    if before is None or before.address != receipt.model:
        raise errors.MissingError(errors.NO_TRAINED_FROM.format(ref=ref, model=receipt.model))
    examples = given(before, _data(store, ref, receipt) if data is None else data)
    if examples.address == receipt.whole:
        examples, _ = parted(examples, receipt.holdout)
    if examples.address != receipt.data:
        told = {"ref": ref, "wanted": receipt.data, "found": examples.address}
        raise errors.SpecError(errors.OTHER_DATA.format(**told))
    # Where training stopped early, what it looked at then is no part of the steps.
    asked = replace(receipt, steps=receipt.kept, patience=0)
    new = again(before, programs, asked, examples, Run(shown=progress))
    return Reproduced(ref, model.address, new.address, tuple(_notes(receipt)))


def recorded(model: Model, ref: str) -> tuple[Receipt, Programs, Model | None]:
    """Receipt and programs of a model, and what it was trained from. Raises SpecError."""
    stored = model.remembered(PROGRAMS)
    if model.receipt is not None and model.receipt.together:
        raise errors.SpecError(errors.TRAINED_TOGETHER.format(ref=ref))
    if model.receipt is None or not stored:
        raise errors.SpecError(errors.NOT_TRAINED.format(ref=ref))
    return model.receipt, Programs.read(stored), pred(model)


def again(
    model: Model, programs: Programs, receipt: Receipt, examples: Examples, run: Run
) -> Model:
    """The successor of a model by stored programs, as a receipt says: its key, steps and batch.

    Raises as :func:`fit`.
    """
    data = jnp.asarray(receipt.key, jnp.uint32)
    key = jax.random.wrap_key_data(data, impl=receipt.generator)
    if receipt.batch == 0:
        raise errors.SpecError(errors.OF_STREAM.format(model=receipt.model))
    split = Split.of(model)
    order = Order(key, examples.count, receipt.batch)
    if order.size != receipt.batch:
        said = {"batch": receipt.batch, "count": examples.count}
        raise errors.SpecError(errors.FEW_EXAMPLES.format(**said))
    devices = None if receipt.devices == 1 else jax.devices()[: receipt.devices]
    if devices is not None and len(devices) < receipt.devices:
        said = {"given": receipt.devices, "here": len(devices)}
        raise errors.SpecError(errors.FIT_NO_DEVICES.format(**said))
    here = {"trained": split.trained, "machines": 1, **_here()}
    receipt = replace(receipt, model=model.address, data=examples.address, **here)
    compiled = Compiled(programs, fixed(model, split.back), devices)
    features = split.features(examples, run.shown)
    rows = Rows(compiled, features, examples, order, split.draw(key))
    return run.train(model, compiled, receipt, rows.step, rows, order.steps)


def _data(store: "Store", ref: str, receipt: Receipt) -> Any:
    wanted = [receipt.data, *filter(None, [receipt.whole])]
    for address in wanted:
        with suppress(errors.MissingError):
            return store.data(address)
    raise errors.MissingError(errors.NO_TRAINED_ON.format(ref=ref, data=wanted[-1]))


def _here() -> dict[str, Any]:
    return {"jax": jax.__version__, "platform": jax.default_backend()}


def _notes(receipt: Receipt) -> list[str]:
    here = {**_here(), "machines": 1}
    then = {name: getattr(receipt, name) for name in here}
    return [f"{k} was {then[k]}, and is {here[k]}" for k in here if here[k] != then[k]]
