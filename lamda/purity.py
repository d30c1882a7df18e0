"""Purity: a function is traced twice, and must give one program, without effects or writes.

Refused are effects (printing, callbacks); two traces that differ (a counter, a clock, a random
number); ``global`` and ``nonlocal`` assignments; and changes, while it is traced, of what it
reaches outside of itself: lists, dicts, sets, numpy arrays and attributes of objects, see
:mod:`lamda.outside`.

What can not be seen: state that somebody else writes between two calls, which is read once, when
the function is traced; what is kept behind C (an open file, a generator of random numbers that
gives the same twice), in attributes of functions, classes and modules, or deeper than
:data:`lamda.outside.DEPTH` containers; and a branch of Python that is not taken at the types at
hand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.core
import numpy as np

from lamda import errors
from lamda.outside import Outside


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
    outside = Outside(call)
    # make_jaxpr remembers what it has traced; under a new function it must look again.
    first, output = jax.make_jaxpr(lambda *a: call(*a), return_shape=True)(*structs)
    second, _ = jax.make_jaxpr(lambda *a: call(*a), return_shape=True)(*structs)
    if written := outside.written():
        text = errors.IMPURE_WRITE.format(
            name=name, variables=", ".join(written), line=outside.where, at=where
        )
        raise errors.ImpureError(text)
    if first.effects:
        effect = ", ".join(sorted(map(str, first.effects)))
        raise errors.ImpureError(errors.IMPURE_EFFECT.format(name=name, effect=effect, at=where))
    pairs = list(zip(first.consts, second.consts, strict=False))
    same = len(first.consts) == len(second.consts) and all(a is b or _equal(a, b) for a, b in pairs)
    if not same or str(first) != str(second):
        raise errors.ImpureError(errors.IMPURE_TRACE.format(name=name, at=where))
    arrays = _arrays(outside)
    captured = {
        i: a
        for i, (a, b) in enumerate(pairs)
        if (isinstance(a, jax.Array) and a is b) or any(_equal(a, array) for array in arrays)
    }
    return Trace(output, captured)


def _arrays(outside: Outside) -> list[np.ndarray]:
    """The numpy arrays within reach of a function, which JAX copies as it traces."""
    leaves = jax.tree.leaves(outside.variables)
    return [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer) or a.shape != b.shape:
        return False
    return np.asarray(a).tobytes() == np.asarray(b).astype(a.dtype).tobytes()
