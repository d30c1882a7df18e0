"""``search(candidates, data) -> ranking``: many heads and settings, trained at once."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from lamda import check, errors
from lamda.fit import metric as metrics
from lamda.fit.examples import Examples, given, require_input
from lamda.fit.order import Order
from lamda.fit.plan import Plan
from lamda.fit.search.groups import grouped
from lamda.fit.search.ranking import Ranking, ranked
from lamda.fit.search.settings import Grid, factory_of, made, settings
from lamda.fit.search.trials import Trials
from lamda.fit.step import Loss
from lamda.model import Model, models
from lamda.unify import Unifier

if TYPE_CHECKING:
    from lamda.store import Store


def search(
    candidates: Model | Iterable[Model],
    data: Any,
    *,
    loss: Loss,
    optimizer: Any,
    grid: Grid | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch: int = 32,
    key: jax.Array,
    eval: Any = None,
    metric: metrics.Metric | str | None = None,
    least: bool = False,
    together: int | None = None,
    accumulate: int = 1,
    dtype: Any = None,
    store: "Store | None" = None,
    force: bool = False,
    progress: bool = True,
) -> Ranking:
    """``search(ms, data, ...)`` is ``fit(m, data, ...)`` of every ``m`` and setting, best first.

    ``optimizer`` is a function of settings, as ``optax.adam`` is of its learning rate; ``grid``
    has values for each, of which every combination is tried, or is a list of settings. Without a
    grid it may be an optimiser. All other arguments are those of :func:`lamda.fit`.

    Candidates of one program, such as heads of one width on one encoder, are trained together:
    one step is mapped over their weights and settings, and what is frozen is computed once for
    all. Settings that are no numbers, and numbers that the optimiser must know to be made, are
    programs of their own, as candidates of other structures are; these come one after the other.
    ``together`` is how many there are at once at most.

    Each model is the successor of its candidate, as :func:`lamda.fit` gives it to within rounding:
    a program for many adds in another order, and takes settings as numbers of float32. Where there
    is but one of its program, it is what :func:`lamda.fit` gives. Same inputs, same addresses;
    receipts name what was trained beside.

    With ``eval``, held-out data, the least loss on it is the best; with ``metric``, a function of
    predictions and targets or ``"accuracy"``, the greatest mean of that, or the ``least``; without
    either, the least loss in training. One that diverges does not end the others; it stands last.

    >>> import jax, jax.numpy as jnp, lamda as lm, optax
    >>> line = lm.lift(lambda w, x: x * w, jnp.float32(0), input="float32[b]", name="line")
    >>> x = jnp.arange(4.0)
    >>> found = search(line, (x, 3 * x), loss=lambda y, t: (y - t) ** 2, optimizer=optax.sgd,
    ...                grid={"learning_rate": [0.001, 0.1, 10.0]}, steps=50, batch=4,
    ...                key=jax.random.key(0), progress=False)
    >>> print(found)
    3 trained, best first by the least loss in training
       candidate  learning_rate  loss
    1  0 line     0.1            0
    2  0 line     0.001          16.279
    3  0 line     10             diverged at step 11
    >>> round(found.best.weights.item(), 3), lm.pred(found.best) is line
    (3.0, True)

    Raises SpecError for an empty grid, settings that the optimiser does not take, and whatever
    :func:`lamda.fit` does not take; MismatchError for candidates of other inputs; DiskError.
    """
    several = isinstance(candidates, Iterable) and not isinstance(candidates, Model)
    heads = models("search", [*candidates] if several else [candidates])
    _require_one_input(heads)
    counts = {"batch": batch, "accumulate": accumulate, "steps": steps, "epochs": epochs}
    for what, number in (counts | {"together": together}).items():
        given_none = number is None and what not in ("batch", "accumulate")
        if not given_none and (type(number) is not int or number < 1):
            raise errors.SpecError(errors.FIT_COUNT.format(what=what, given=number))
    if (steps is None) == (epochs is None):
        raise errors.SpecError(errors.FIT_LENGTH.format(steps=steps, epochs=epochs))
    if metric is not None and eval is None:
        raise errors.SpecError(errors.SEARCH_EVAL)
    factory = factory_of(optimizer, grid)
    trials = [(each, made(factory, each)) for each in settings(grid)]
    examples = _examples(heads, data)
    held = None if eval is None else _examples(heads, eval)
    order = Order(key, examples.count, batch)
    run = Trials(
        data, examples, order, steps or (epochs or 0) * order.steps, key, held,
        None if metric is None else metrics.named(metric), together, store, force, progress,
    )  # fmt: skip
    groups = grouped(
        heads, trials, factory, lambda m, o: Plan.of(m, loss, o, key, accumulate, dtype)
    )
    receipts = [run.receipt(group) for group in groups]  # all that is wrong is found before
    rows = dict(row for pair in zip(groups, receipts, strict=True) for row in run.rows(*pair))
    name = None if run.metric is None else run.metric[0]
    return ranked([rows[place] for place in sorted(rows)], name, least)


def _examples(heads: Sequence[Model], data: Any) -> Examples:
    """The examples, which every candidate takes. Raises SpecError, MismatchError."""
    examples = given(heads[0], data)
    for head in heads[1:]:
        require_input(head, examples.inputs)
    return examples


def _require_one_input(heads: Sequence[Model]) -> None:
    """Raises MismatchError unless all take one type, whatever its dimensions are called."""
    first = heads[0]
    for other in heads[1:]:
        unifier = Unifier()
        if not unifier.unify(first.require_input(), other.require_input()):
            left, right = (
                (check.Place(head.term, head.where), head.require_input())
                for head in (first, other)
            )
            raise check.mismatch(errors.SEARCH_INPUT, unifier, left, right)
