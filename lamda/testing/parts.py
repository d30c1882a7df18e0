"""Parts: small functions that drawn models are made of, each with its meaning in numpy.

>>> import lamda as lm
>>> from lamda.testing import parts
>>> lm.lift(parts.double, input="float32[b]")
<double: float32[b] -> float32[b]>
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from lamda import dims, types
from lamda.dims import Dim
from lamda.errors import made_at
from lamda.function import Function
from lamda.lift.plain import plain
from lamda.model import Model
from lamda.term import Lift, Slot, Token
from lamda.types import ArrayType, Type

# --- of one array, of any shape ---


def double(x: Any) -> Any:
    """``2 * x``."""
    return x + x


def negative(x: Any) -> Any:
    """``-x``."""
    return -x


def relu(x: Any) -> Any:
    """The larger of ``x`` and 0."""
    return jnp.maximum(x, jnp.zeros_like(x))


def square(x: Any) -> Any:
    """``x * x``, of what is at most 2 in magnitude."""
    near = jnp.clip(x, -2, 2)
    return near * near


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return jnp.tanh(x)


def dropout(x: Any, key: jax.Array | None = None) -> Any:
    """Half of the numbers, doubled, where there is a key; all of them where there is none."""
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x + x, jnp.zeros_like(x))


def inverted(x: Any) -> Any:
    """``not x``."""
    return jnp.logical_not(x)


def positive(x: Any) -> Any:
    """``x > 1/16``: between the numbers that are drawn, so that it does not hang on rounding."""
    return x > 0.0625


def nonzero(x: Any) -> Any:
    """``x != 0``, of whole numbers."""
    return x != 0


def total(x: Any) -> Any:
    """The sum over the last axis."""
    return x.sum(-1)


# --- to another dtype ---


def to_float32(x: Any) -> Any:
    """``x`` in float32."""
    return x.astype(jnp.float32)


def to_float16(x: Any) -> Any:
    """``x`` in float16."""
    return x.astype(jnp.float16)


def to_bfloat16(x: Any) -> Any:
    """``x`` in bfloat16."""
    return x.astype(jnp.bfloat16)


def to_int32(x: Any) -> Any:
    """``x``, which is at most 8 in magnitude, as a whole number below."""
    return jnp.floor(jnp.clip(x, -8, 8) + 0.0625).astype(jnp.int32)


# --- of a pair ---


def plus(xy: Any) -> Any:
    """``x + y``."""
    return xy[0] + xy[1]


def minus(xy: Any) -> Any:
    """``x - y``."""
    return xy[0] - xy[1]


def times(xy: Any) -> Any:
    """``x * y``."""
    return xy[0] * xy[1]


def above(xy: Any) -> Any:
    """``x > y + 1/16``."""
    return xy[0] > xy[1] + 0.0625


# --- of weights and one array ---


def dense(weights: Any, x: Any) -> Any:
    """``x @ kernel + bias``, over the last axis."""
    y = x @ weights["kernel"]
    return y + jnp.broadcast_to(weights["bias"], y.shape)


def scale(weight: Any, x: Any) -> Any:
    """``x * w``, for one number ``w``."""
    return x * weight


def shift(weight: Any, x: Any) -> Any:
    """``x + w``, for one number ``w``."""
    return x + weight


def open(function: Callable[..., Any], input: Any, features: int | None = None) -> Model:
    """``lift(function)`` of weights and one array, open: :meth:`lamda.Model.init` closes it.

    ``features`` is what :func:`dense` gives along the last axis.

    >>> open(dense, "float32[b, 3]", 2)
    <dense: float32[b, 3] -> float32[b, 2]>
    """
    made, output = _open(function, types.flat(types.typeof(input)), features)
    return Model(Lift(made, Slot(Token())), {}, made.input, output, where=made_at())


@lru_cache(maxsize=8192)
def _open(
    function: Callable[..., Any], input: types.Flat, features: int | None
) -> tuple[Function, Type]:
    """The function, made once for each type, so that it is traced once."""
    type = jax.tree.unflatten(*input)
    made = plain(function, True, input=type, name=None, where="lamda.testing.parts")
    made.init = Initial(features)
    return made, made.output(made.weights(type), type)


@dataclass(frozen=True)
class Initial:
    """Initial weights: one number, or those of a dense layer that gives so many features."""

    features: int | None

    def __call__(self, key: jax.Array, x: Any) -> Any:
        if self.features is None:
            return jax.random.normal(key, (), x.dtype)
        kernel = jax.random.normal(key, (x.shape[-1], self.features), x.dtype)
        return {"bias": jnp.zeros((self.features,), x.dtype), "kernel": kernel}


# --- counting, to stop loops ---


def zero(_: Any) -> Any:
    """0, for any input."""
    return jnp.int32(0)


def increment(n: Any) -> Any:
    """``n + 1``."""
    return n + 1


@dataclass(frozen=True)
class AtLeast:
    """``at_least(k)(n)`` is ``n >= k``."""

    count: int
    __name__: ClassVar[str] = "at_least"

    def __call__(self, n: Any) -> Any:
        return n >= self.count

    def __repr__(self) -> str:
        return f"parts.at_least({self.count})"

    numpy = __call__


at_least = AtLeast


# --- from anything to anything ---


@dataclass(frozen=True)
class Spread:
    """``spread(input, output)`` takes any tree of one type to any tree of another.

    A dimension of the output that is no number is one of the input. Every array that comes out
    holds, at each place, the sum of what stands at that place in all arrays that go in: axes that
    both have are kept, all others are summed over, or repeated. So rows stay rows.
    """

    input: types.Flat
    output: types.Flat
    __name__: ClassVar[str] = "spread"

    def __call__(self, x: Any) -> Any:
        return self._run(jnp, x)

    def numpy(self, x: Any) -> Any:
        """The same in numpy."""
        return self._run(np, x)

    def _run(self, xp: Any, x: Any) -> Any:
        leaves = jax.tree.leaves(x)
        sizes = _sizes(self.input[1], leaves)
        made = [self._array(xp, leaves, leaf, sizes) for leaf in self.output[1]]
        return jax.tree.unflatten(self.output[0], made)

    def _array(self, xp: Any, leaves: list[Any], to: ArrayType, sizes: dict[Dim, Any]) -> Any:
        shape = tuple(_size(d, sizes) for d in to.shape)
        found = [
            _aligned(xp, leaf, type.shape, to.shape)
            for leaf, type in zip(leaves, self.input[1], strict=True)
        ]
        zeros = xp.zeros(shape, np.float32)
        whole = reduce(operator.add, [xp.broadcast_to(leaf, shape) for leaf in found], zeros)
        return _as(xp, whole, to.dtype)

    def __repr__(self) -> str:
        made = [written(jax.tree.unflatten(*flat)) for flat in (self.input, self.output)]
        return f"parts.spread({', '.join(made)})"


def spread(input: Any, output: Any) -> Spread:
    """``spread("float32[b]", "float32[b, 2]")``: see :class:`Spread`."""
    return Spread(types.flat(types.typeof(input)), types.flat(types.typeof(output)))


def written(type: Type) -> str:
    """A type as Python writes it: texts in tuples and dicts."""
    return repr(types.transform(str, type))


def _sizes(kinds: tuple[ArrayType, ...], leaves: list[Any]) -> dict[Dim, Any]:
    """The size of every dimension that is no number."""
    return {
        dim: size
        for kind, leaf in zip(kinds, leaves, strict=True)
        for dim, size in zip(kind.shape, leaf.shape, strict=True)
        if isinstance(dim, str)
    }


def _size(dim: Dim, sizes: dict[Dim, Any]) -> Any:
    """The size of a dimension: one that is known, or an expression of names that are."""
    if isinstance(dim, int) or dim in sizes:
        return sizes.get(dim, dim)
    known = {name: sizes[name] for name in dims.names(dim)}
    functions = {"floordiv": operator.floordiv, "mod": operator.mod}
    bounds = {"max": jax.core.max_dim, "min": jax.core.min_dim}
    return eval(str(dim).replace("^", "**"), {**functions, **bounds, **known})


def _aligned(xp: Any, x: Any, own: tuple[Dim, ...], to: tuple[Dim, ...]) -> Any:
    """``x`` in float32, of the rank of ``to``: axes of one name where it has them, 1 elsewhere."""
    wide = x.astype(np.float32)
    kept = [dim for dim in dict.fromkeys(own) if isinstance(dim, str) and dim in to]
    places = [own.index(dim) for dim in kept]
    others = tuple(i for i in range(len(own)) if i not in places)
    summed = wide.sum(others) if others else wide
    order = sorted(range(len(kept)), key=lambda i: to.index(kept[i]))
    turned = xp.transpose(summed, order)
    at = {to.index(dim) for dim in kept}
    rest = tuple(i for i in range(len(to)) if i not in at)
    return xp.expand_dims(turned, rest)


def _as(xp: Any, x: Any, dtype: str) -> Any:
    """Numbers in another dtype, by way of what does not hang on rounding."""
    if dtype == "bool":
        return x > 0.0625
    if "int" in dtype:
        return xp.floor(xp.clip(x, -8, 8) + np.float32(0.0625)).astype(dtype)
    return x.astype(jnp.dtype(dtype))


def _dense(weights: Any, x: Any) -> Any:
    return x @ weights["kernel"] + weights["bias"]


def _to(dtype: Any) -> Callable[[Any], Any]:
    return lambda x: x.astype(dtype)


MEANINGS: dict[Callable[..., Any], Callable[..., Any]] = {
    double: lambda x: x * 2,
    negative: np.negative,
    relu: lambda x: np.where(x > 0, x, np.zeros_like(x)),
    square: lambda x: np.minimum(np.abs(x), 2) ** 2,
    tanh: np.tanh,
    dropout: lambda x: x,
    inverted: np.logical_not,
    positive: lambda x: x > 0.0625,
    nonzero: lambda x: x != 0,
    total: lambda x: np.sum(x, axis=-1, dtype=x.dtype),
    to_float32: _to(np.float32),
    to_float16: _to(np.float16),
    to_bfloat16: _to(jnp.bfloat16),
    to_int32: lambda x: np.floor(np.clip(x, -8, 8) + 0.0625).astype(np.int32),
    plus: lambda xy: np.add(*xy),
    minus: lambda xy: np.subtract(*xy),
    times: lambda xy: np.multiply(*xy),
    above: lambda xy: xy[0] > xy[1] + 0.0625,
    dense: _dense,
    scale: lambda w, x: x * w,
    shift: lambda w, x: x + w,
    zero: lambda _: np.int32(0),
    increment: lambda n: n + 1,
}
"""What each part means, in numpy."""
