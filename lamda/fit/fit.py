"""``fit(model, data) -> model``: training as a pure function."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import check, errors, evaluate, program, types
from lamda.address import sha256
from lamda.digest import digest
from lamda.fit.frontier import cut
from lamda.model import Model
from lamda.normal import Graph
from lamda.receipt import Receipt
from lamda.tensor import Tensor, Weights
from lamda.versions import succ

Loss = Callable[[Any, Any], Any]

CHUNK = 32
"""Examples at a time while the frozen part runs over the data."""

DRAW = 2**32 - 1
"""What the key is folded with for parts that are random."""

LOOK = 50
"""Steps between two looks at the loss; looking waits for the device."""


def fit(
    model: Model,
    data: tuple[Any, Any],
    *,
    loss: Loss,
    optimizer: Any,
    steps: int,
    batch: int,
    key: jax.Array,
    progress: bool = True,
) -> Model:
    """``fit(m, data, ...)`` is the successor of ``m`` after ``steps`` steps; ``m`` stays as it was.

    ``data`` is ``(inputs, targets)``: trees of arrays with the same first axis, inputs of the
    model's type. ``loss(prediction, target)`` gives one number, or one for each example, whose
    mean is taken. ``optimizer`` is an optax gradient transformation. Each step takes ``batch``
    examples; ``key`` orders them, every example once before any comes again.

    What depends on no trained weight is computed once for each example, and no gradient of a
    frozen weight is ever computed. Same inputs, same address; ``.receipt`` names them.

    >>> import jax, jax.numpy as jnp, lamda as lm, optax
    >>> line = lm.lift(lambda w, x: x * w, jnp.float32(0), input="float32[b]", name="line")
    >>> x = jnp.arange(4.0)
    >>> fitted = fit(line, (x, 3 * x), loss=lambda y, t: (y - t) ** 2, optimizer=optax.sgd(0.1),
    ...              steps=50, batch=4, key=jax.random.key(0), progress=False)
    >>> round(fitted.weights.item(), 3), lm.pred(fitted) is line
    (3.0, True)

    Raises SpecError for data that does not fit, or a model with nothing to train;
    FloatingPointError where the loss is not finite.
    """
    inputs, targets, count = _examples(model, data)
    for what, number in (("steps", steps), ("batch", batch)):
        if type(number) is not int or number < 1:
            raise errors.SpecError(errors.FIT_COUNT.format(what=what, given=number))
    leaves = jax.tree.leaves(model)
    if not leaves:
        raise errors.SpecError(errors.FIT_FROZEN.format(name=model))
    front, back = cut(model.program)
    fixed = {s: w for s, w in model.environment.items() if s.frozen}
    features = _features(front, fixed, inputs, count, progress)
    step = _step(model, back, loss, optimizer, jax.random.key_impl(key))
    state = (model.weights, optimizer.init(model.weights), features, targets)
    # Keys up to the number of epochs order the examples; what is random draws from the last one.
    draw = jax.random.fold_in(key, DRAW) if any(map(evaluate.draws, back.nodes)) else None
    drawn = None if draw is None else jax.random.key_data(draw)
    receipt = _receipt(model, data, step, (*state, drawn), (key, steps, min(batch, count)))
    batches = _batches(key, count, batch, steps)
    weights, losses = _train(step, (*state, draw), batches, steps, progress)
    tail = losses[-max(1, steps // 10) :]
    new = succ(model, weights)
    return new.derive(new.term, new.environment, pred=model, receipt=receipt(float(np.mean(tail))))


def _examples(model: Model, data: Any) -> tuple[Any, Any, int]:
    """Inputs and targets as arrays, and how many examples there are. Raises SpecError."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise errors.SpecError(errors.FIT_DATA.format(given=type(data).__name__))
    inputs, targets = (jax.tree.map(jnp.asarray, part) for part in data)
    rows = {leaf.shape[0] if leaf.shape else None for leaf in jax.tree.leaves((inputs, targets))}
    if len(rows) != 1 or None in rows:
        given = f"{types.show(types.typeof(inputs))} and {types.show(types.typeof(targets))}"
        raise errors.SpecError(errors.FIT_DATA.format(given=given))
    wanted = model.require_input()
    check.agree((check.INPUT, types.typeof(inputs)), (check.first(model.term, ""), wanted))
    (count,) = rows
    return inputs, targets, int(count or 0)


def _features(front: Graph, fixed: Any, inputs: Any, count: int, progress: bool) -> Any:
    """What the frozen part gives for every example, in chunks of one size."""
    if not front.nodes:
        return evaluate.run(front, [], inputs)
    weights = [fixed[slot].arrays if slot in fixed else None for slot in front.slots]
    run = jax.jit(partial(evaluate.run, front))
    size = min(CHUNK, count)
    starts = _bar(range(0, count, size), "frozen part", progress)
    parts = [run(weights, jax.tree.map(lambda a: _rows(a, s, size), inputs)) for s in starts]  # noqa: B023
    return jax.tree.map(lambda *chunks: jnp.concatenate(chunks)[:count], *parts)


def _rows(array: jax.Array, start: int, size: int) -> jax.Array:
    """``size`` rows from ``start``; the last row again where there are not enough."""
    return array[np.minimum(np.arange(start, start + size), len(array) - 1)]


def _step(model: Model, back: Graph, loss: Loss, optimizer: Any, kind: Any) -> Callable[..., Any]:
    """One step: ``(weights, state, features, targets, key, rows) -> (weights, state, loss)``."""

    def mean_loss(weights: Any, features: Any, targets: Any, key: Any) -> jax.Array:
        placed = model.place(weights)
        arrays = [placed[slot].arrays for slot in back.slots]
        value = jnp.asarray(loss(evaluate.run(back, arrays, features, key), targets))
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise errors.SpecError(errors.FIT_LOSS.format(given=types.show(types.typeof(value))))
        return value.mean()

    def step(weights: Any, state: Any, features: Any, targets: Any, key: Any, rows: Any) -> Any:
        chosen = jax.tree.map(lambda a: a[rows], (features, targets))
        drawn = None if key is None else jax.random.wrap_key_data(key, impl=kind)
        value, gradient = jax.value_and_grad(mean_loss)(weights, *chosen, drawn)
        updates, state = optimizer.update(gradient, state, weights)
        return jax.tree.map(lambda w, u: w + u.astype(w.dtype), weights, updates), state, value

    return step


def _batches(key: jax.Array, count: int, batch: int, steps: int) -> Iterator[np.ndarray]:
    """The rows of each step: every example once, in the order of the key, before any again."""
    size = min(batch, count)
    waiting = np.zeros(0, np.int32)
    epoch = 0
    for _ in range(steps):
        while len(waiting) < size:
            order = jax.random.permutation(jax.random.fold_in(key, epoch), count)
            waiting = np.concatenate([waiting, np.asarray(order, np.int32)])
            epoch += 1
        yield waiting[:size]
        waiting = waiting[size:]


def _train(
    step: Callable[..., Any], state: Any, batches: Iterator[np.ndarray], steps: int, progress: bool
) -> tuple[Any, list[float]]:
    weights, optimizer, features, targets, draw = state
    compiled = jax.jit(step)
    losses: list[float] = []
    waiting: list[jax.Array] = []
    bar = _bar(batches, "training", progress, steps)
    for number, rows in enumerate(bar):
        key = None if draw is None else jax.random.key_data(jax.random.fold_in(draw, number))
        weights, optimizer, value = compiled(weights, optimizer, features, targets, key, rows)
        waiting.append(value)
        if len(waiting) == LOOK:
            losses += _look(waiting, len(losses), bar)
            waiting = []
    return weights, losses + _look(waiting, len(losses), bar)


def _look(values: Sequence[jax.Array], before: int, bar: Any) -> list[float]:
    """The losses as numbers. Raises FloatingPointError where one is not finite."""
    losses = [float(v) for v in values]
    for i, value in enumerate(losses):
        if not np.isfinite(value):
            step = before + i + 1
            raise FloatingPointError(errors.FIT_NAN.format(value=value, step=step))
    if losses and hasattr(bar, "set_postfix"):
        bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    return losses


def _receipt(
    model: Model, data: Any, step: Callable[..., Any], state: Any, run: tuple[Any, int, int]
) -> Callable[[float], Receipt]:
    key, steps, batch = run
    rows = np.zeros(batch, np.int32)
    structs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (*state, rows))
    made = digest(program.export(step, *structs), 0).value
    key_data = tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())
    address, arrays = model.address, data_address(data)
    return lambda loss: Receipt(
        model=address, data=arrays, step=made, key=key_data, steps=steps, batch=batch,
        loss=loss, jax=jax.__version__, platform=jax.default_backend(),
    )  # fmt: skip


def data_address(data: Any) -> str:
    """``sha256:...`` of a tree of arrays: its structure and the digests of its tensors."""
    bound = Weights.of(jax.tree.map(lambda a: Tensor(jnp.asarray(a)), data))
    return sha256(["data", [[list(path), tensor.digest] for path, tensor in bound.items()]])


def _bar(items: Any, what: str, shown: bool, total: int | None = None) -> Any:
    """The items with a progress bar, where one is wanted and tqdm is there to draw it."""
    if not shown:
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, what, total, leave=False, mininterval=0.5)
