"""Purity: a function is traced twice, and must give one program without effects."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.core
import numpy as np

from lamda import errors


class Trace(NamedTuple):
    """What tracing a pure function tells."""

    output: Any
    """The tree of ``jax.ShapeDtypeStruct`` that it gives."""
    captured: dict[int, Any]
    """The arrays that it captures, by their place among the constants of the program."""


def trace(call: Callable[..., Any], *structs: Any, name: str, where: str) -> Trace:
    """Trace ``call`` twice at these types. Raises ImpureError where it is not pure.

    An array is captured when both traces find it, one and the same, outside of the function; an
    array that the function makes anew each time is a constant of its program.
    """
    # make_jaxpr remembers what it has traced; under a new function it must look again.
    first, output = jax.make_jaxpr(lambda *a: call(*a), return_shape=True)(*structs)
    second, _ = jax.make_jaxpr(lambda *a: call(*a), return_shape=True)(*structs)
    if first.effects:
        effect = ", ".join(sorted(map(str, first.effects)))
        raise errors.ImpureError(errors.IMPURE_EFFECT.format(name=name, effect=effect, at=where))
    pairs = list(zip(first.consts, second.consts, strict=False))
    same = len(first.consts) == len(second.consts) and all(a is b or _equal(a, b) for a, b in pairs)
    if not same or str(first) != str(second):
        raise errors.ImpureError(errors.IMPURE_TRACE.format(name=name, at=where))
    outside = _arrays(call)
    captured = {
        i: a
        for i, (a, b) in enumerate(pairs)
        if (isinstance(a, jax.Array) and a is b) or any(_equal(a, array) for array in outside)
    }
    return Trace(output, captured)


def _arrays(call: Callable[..., Any]) -> list[np.ndarray]:
    """The numpy arrays within reach of a function's closure, which JAX copies as it traces."""
    function = getattr(call, "function", call)
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    globals_ = getattr(function, "__globals__", {})
    reached = [*cells, *(globals_[n] for n in names if n in globals_)]
    return [leaf for leaf in jax.tree.leaves(reached) if isinstance(leaf, np.ndarray)]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer) or a.shape != b.shape:
        return False
    return np.asarray(a).tobytes() == np.asarray(b).astype(a.dtype).tobytes()
