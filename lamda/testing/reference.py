"""Reference: the meaning of terms as written, in numpy."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import kinds, types
from lamda.function import Function
from lamda.kind import Kind
from lamda.model import Model
from lamda.tensor import Weights
from lamda.term import Branch, Compose, Control, Lift, Named, Pick, Slot, Term
from lamda.testing.parts import MEANINGS, AtLeast, Spread

Run = Callable[[Any], Any]


def reference(model: Model, x: Any) -> Any:
    """The value of a closed model at ``x``, by the meaning of its term as it is written.

    Every part runs where it stands, one after the other, in numpy: nothing is shared, put in
    normal form, traced or compiled. A function that has no meaning in numpy is called as it is.

    >>> import jax.numpy as jnp, lamda as lm
    >>> from lamda.testing import parts
    >>> double = lm.lift(parts.double, input="float32[b]")
    >>> reference(lm.residual(double), jnp.ones(2))
    array([3., 3.], dtype=float32)
    """
    model.require_closed()
    model.accept(types.typeof(x))
    with np.errstate(all="ignore"):  # infinity and NaN are values, here as in XLA
        return _meaning(model.term, model.environment, _numpy(x))


def _meaning(term: Term, weights: Mapping[Slot, Weights], x: Any) -> Any:
    """What a term means at ``x``."""
    match term:
        case Lift(function, slot):
            return _numpy(_called(function, () if slot is None else weights[slot].arrays, x))
        case Compose(parts):
            return reduce(lambda value, part: _meaning(part, weights, value), parts, x)
        case Branch(parts, names):
            values = [_meaning(part, weights, x) for part in parts]
            return tuple(values) if names is None else dict(zip(names, values, strict=True))
        case Pick(key):
            return x[key]
        case Named(_, inner):
            return _meaning(inner, weights, x)
        case Control(kind, bodies):
            return _control(kind, [lambda x, t=t: _meaning(t, weights, x) for t in bodies], x)


def _called(function: Function, weights: Any, x: Any) -> Any:
    """What a lifted function gives: by its meaning in numpy, where it has one."""
    match function.key:
        case ("python", Spread() | AtLeast() as part, _):
            return part.numpy(x)
        case ("python", called, True) if called in MEANINGS:
            return MEANINGS[called](_numpy(weights), x)
        case ("python", called, False) if called in MEANINGS:
            return MEANINGS[called](x)
        case ("join", "mix"):
            return _mixed(*x)
        case ("join", "concat" | "stack" as name, axis):
            return _leafwise(lambda leaves: JOINS[name](leaves, axis), x)
        case ("join", name) if name in JOINS:
            return _leafwise(JOINS[name], x)
        case ("lamda", "const"):
            return weights
    with jax.numpy_dtype_promotion("strict"):
        return function.call(*jax.tree.map(jnp.asarray, (weights, x)))


JOINS: dict[str, Callable[..., Any]] = {
    "add": lambda leaves: reduce(np.add, leaves),
    "multiply": lambda leaves: reduce(np.multiply, leaves),
    "mean": lambda leaves: reduce(np.add, leaves) / len(leaves),
    "max": lambda leaves: reduce(np.maximum, leaves),
    "concat": np.concatenate,
    "stack": np.stack,
}
"""What joins mean, leaf by leaf, in numpy."""


def _leafwise(join: Callable[[Sequence[Any]], Any], trees: tuple[Any, ...]) -> Any:
    """The join of what stands in one place of several trees."""
    return jax.tree.map(lambda *leaves: join(leaves), *trees)


def _mixed(scores: Any, results: tuple[Any, ...]) -> Any:
    """The results, weighed by the softmax of the scores."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    shares = powers / powers.sum(-1, keepdims=True)

    def mixed(*leaves: Any) -> Any:
        rank = leaves[0].ndim - (scores.ndim - 1)
        return sum(
            shares[..., i].reshape(shares.shape[:-1] + (1,) * rank) * leaf
            for i, leaf in enumerate(leaves)
        )

    return jax.tree.map(mixed, *results)


def _control(kind: Kind, bodies: Sequence[Run], x: Any) -> Any:
    """What a control means: loops of Python."""
    match kind, bodies:
        case kinds.Switch(), _:
            index, value = x
            return bodies[min(max(int(index), 0), len(bodies) - 1)](value)
        case kinds.Remat(), [body]:
            return body(x)
        case kinds.Iterate(count), [body]:
            return reduce(lambda value, _: body(value), range(count), x)
        case kinds.Until(), [body, done]:
            while not done(x):
                x = body(x)
            return x
        case kinds.Scan(), [body]:
            return _scanned(body, *x)
        case kinds.Vmap(), [body]:
            return _stacked([body(each) for each in _elements(x)])
    return _numpy(kind.run(bodies, x))


def _scanned(body: Run, state: Any, xs: Any) -> Any:
    ys = []
    for x in _elements(xs):
        state, y = body((state, x))
        ys.append(y)
    return state, _stacked(ys)


def _elements(tree: Any) -> list[Any]:
    """The trees of what stands at each place of the first axis."""
    count = len(jax.tree.leaves(tree)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(count)]


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
