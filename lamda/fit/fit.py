"""``fit(model, data) -> model``: training as a pure function."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from lamda import errors
from lamda.fit import progress as told
from lamda.fit.batches import Rows, Stream
from lamda.fit.evaluation import Evaluation
from lamda.fit.examples import Examples, given, is_stream
from lamda.fit.loop import Callback
from lamda.fit.order import Order
from lamda.fit.plan import Plan
from lamda.fit.run import Run
from lamda.fit.step import Loss
from lamda.model import Model
from lamda.receipt import PROGRAMS

if TYPE_CHECKING:
    from lamda.store import Store

OFTEN = 1000
"""Steps between two events of a stream, whose end nobody knows."""


def fit(
    model: Model,
    data: Any,
    *,
    loss: Loss,
    optimizer: Any,
    steps: int | None = None,
    epochs: int | None = None,
    batch: int = 32,
    key: jax.Array,
    eval: Any = None,
    every: int | None = None,
    patience: int = 0,
    callbacks: Sequence[Callback] = (),
    accumulate: int = 1,
    dtype: Any = None,
    checkpoint: str | Path | None = None,
    devices: int | Sequence[Any] | None = None,
    store: "Store | None" = None,
    force: bool = False,
    progress: bool = True,
) -> Model:
    """``fit(m, data, ...)`` is the successor of ``m`` after ``steps`` steps; ``m`` stays as it was.

    ``data`` is ``(inputs, targets)``: trees of arrays with the same first axis, inputs of the
    model's type; or a :class:`~lamda.DataSet`; or an iterable of such pairs, each of which is the
    batch of a step. ``loss(prediction, target)`` gives one number, or some for each example, whose
    mean is taken. ``optimizer`` is an optax gradient transformation. Each step takes ``batch``
    examples; ``key`` orders them, every example once before any comes again. ``epochs`` in place
    of ``steps`` is as many steps as it takes to see every example so often.

    What depends on no trained weight is computed once for each example and kept, for every epoch
    and for the next head on the same encoder; no gradient of a frozen weight is ever computed.
    Same inputs, same address; ``.receipt`` names them.

    - ``eval`` is held-out data. Every ``every`` steps, by default when all examples were seen,
      and at the end, the loss on it is taken. With ``patience``, training ends when that was no
      better for so many looks, and the weights with the least are the result.
    - ``callbacks`` are told an :class:`~lamda.fit.Event` then; they observe, and change nothing.
    - ``checkpoint`` is a directory where the state is kept then. The same call after an
      interruption goes on from it; the result is that of a run without one, to the bit.
    - ``accumulate`` computes a step in so many parts, one after the other, in less memory.
    - ``dtype``, such as ``"bfloat16"``, is what a step computes in; the weights keep their own.
    - ``devices``, how many or which, share each batch.
    - ``store`` keeps the result. A result that it has is returned at once, unless ``force``.

    >>> import jax, jax.numpy as jnp, lamda as lm, optax
    >>> line = lm.lift(lambda w, x: x * w, jnp.float32(0), input="float32[b]", name="line")
    >>> x = jnp.arange(4.0)
    >>> fitted = fit(line, (x, 3 * x), loss=lambda y, t: (y - t) ** 2, optimizer=optax.sgd(0.1),
    ...              steps=50, batch=4, key=jax.random.key(0), progress=False)
    >>> round(fitted.weights.item(), 3), lm.pred(fitted) is line
    (3.0, True)

    Laws: a run in two parts by ``checkpoint`` is a run in one; ``fit(f >> h)`` with ``f`` frozen is
    ``f >> fit(h)`` on the data ``f`` gives.

    Raises SpecError for data that does not fit, or a model with nothing to train; MismatchError
    for inputs of another type; DivergedError where a loss is not finite, with the step, its
    examples and the last good model; StoreError for a damaged checkpoint; DiskError.
    """
    for what, number in (("batch", batch), ("accumulate", accumulate)):
        _require_count(what, number)
    for what, number in (("steps", steps), ("epochs", epochs), ("every", every)):
        if number is not None:
            _require_count(what, number)
    plan = Plan.of(model, loss, optimizer, key, accumulate, dtype, devices)
    processes = plan.processes
    progress = progress and processes.first
    held = None if eval is None else given(model, eval)
    if patience and held is None:
        raise errors.SpecError(errors.FIT_PATIENCE)
    run = Run(callbacks, checkpoint, store, progress)
    split = plan.split
    if is_stream(data):
        every = every or OFTEN
        stream = Stream(model, data, epochs or 1, split.of_batch(), split.draw(key))
        first = stream.first()
        types = split.types(*first, stream.size)
        plan.require_parts(stream.size)
        stops = _stops(held, every, patience)
        receipt = plan.receipt(types, "", steps=steps or 0, batch=0, **stops)
        compiled = plan.compiled(types)
        batches, step = stream, compiled.of_batch
    else:
        if (steps is None) == (epochs is None):
            raise errors.SpecError(errors.FIT_LENGTH.format(steps=steps, epochs=epochs))
        examples = given(model, data)
        order = Order(key, examples.count, batch)
        plan.require_parts(order.size)
        types = split.types(examples.inputs, examples.targets, order.size)
        steps, every = steps or (epochs or 0) * order.steps, every or order.steps
        stops = _stops(held, every, patience)
        receipt = plan.receipt(types, examples.address, steps=steps, batch=order.size, **stops)
        found = None if store is None or force else store.trained(receipt)
        processes.require_same(
            "what their store has", "nothing" if found is None else found.address
        )
        if found is not None:
            told.say(errors.FIT_FOUND.format(address=found.address), progress)
            return _after(model, found)
        compiled = plan.compiled(types)
        features = split.features(examples, progress)
        batches = Rows(compiled, features, examples, order, split.draw(key))
        step = batches.step
    measured = held and Evaluation(plan.step, split.features(held, progress), held)
    evaluate = measured and (lambda weights: processes.agreed(measured(weights)))
    return run.train(model, compiled, receipt, step, batches, every, evaluate)


def _after(model: Model, found: Model) -> Model:
    """What was found in a store, as the successor of the model that is here."""
    new = found.derive(found.term, found.environment, pred=model, receipt=found.receipt)
    new.remember(PROGRAMS, found.remembered(PROGRAMS))
    return new


def _require_count(what: str, number: Any) -> None:
    if type(number) is not int or number < 1:
        raise errors.SpecError(errors.FIT_COUNT.format(what=what, given=number))


def _stops(held: Examples | None, every: int, patience: int) -> dict[str, Any]:
    """What ends the training early, where something does."""
    if held is None or not patience:
        return {}
    return {"eval": held.address, "every": every, "patience": patience}
