"""Levels of equality: what it can mean that two models are one."""

from enum import Enum
from typing import Any

import jax
import numpy as np

from lamda import errors, types
from lamda.compile import program
from lamda.model import Model
from lamda.testing.reference import reference
from lamda.testing.source import source


class Level(Enum):
    """How far two sides of a law are equal; each level but the last implies those after it."""

    TERM = "term"
    """They are one term, as written: weight names and ties too."""
    ADDRESS = "address"
    """One normal form and one content: one program, one executable, one entry of every cache."""
    PROGRAM = "program"
    """One text of StableHLO; the weights may differ."""
    VALUE = "value"
    """The same numbers, within :data:`ULPS` of their dtype."""
    TYPE = "type"
    """The same input and output type, up to the names of dimensions."""


class Tier(Enum):
    """What it takes to decide a law: nothing is computed, or by numpy, or by XLA."""

    ABSTRACT = "abstract"
    NUMPY = "numpy"
    XLA = "xla"

    def within(self, other: "Tier") -> bool:
        """Whether it takes no more than the other."""
        order = list(Tier)
        return order.index(self) <= order.index(other)


ULPS = {"float64": 16, "float32": 16, "float16": 8, "bfloat16": 8, "complex64": 16}
"""How many units in the last place results may differ; other dtypes must agree to the bit."""


def same(level: Level, left: Any, right: Any, x: Any = None) -> str:
    """Why two models are not equal at this level; empty where they are.

    At :attr:`Level.VALUE` models are compared at ``x`` by the reference meaning; values that are
    no models are compared as they are.
    """
    if not isinstance(left, Model):
        return _values(left, right)
    match level:
        case Level.TERM:
            return "" if left.term == right.term else _texts(False, source(left), source(right))
        case Level.ADDRESS:
            return _texts(left.address == right.address, left.address, right.address)
        case Level.PROGRAM:
            return _texts(text(left) == text(right), text(left), text(right))
        case Level.VALUE:
            return _values(reference(left, x), reference(right, x))
        case Level.TYPE:
            return _texts(_signature(left) == _signature(right), repr(left), repr(right))


def text(model: Model) -> str:
    """The program of a model as text: StableHLO, every named dimension 2."""
    sizes = dict.fromkeys(types.names(model.require_input()), 2)
    made = program.of(model, roll=False).at(sizes)
    main = jax.jit(made.main(), keep_unused=True)
    return main.lower(*made.arguments(), *made.inputs()).as_text()


def ulps(left: Any, right: Any) -> float:
    """How far two arrays are apart, in units in the last place of the largest number in them.

    That is ``max |a - b| / (eps max(|a|, |b|, 1))``, with the ``eps`` of their dtype. NaN is equal
    to NaN, and infinite only to the same infinity.
    """
    one, other = np.asarray(left), np.asarray(right)
    wide = np.complex128 if np.iscomplexobj(one) else np.float64
    a, b = one.astype(wide), other.astype(wide)
    differ = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not np.any(differ):
        return 0.0
    apart = float(np.max(np.abs(a - b)[differ]))
    largest = max(float(np.max(np.abs(n[np.isfinite(n)]), initial=1)) for n in (a, b))
    eps = float(jax.numpy.finfo(one.dtype).eps)
    return apart / (largest * eps) if np.isfinite(apart) else np.inf


def _values(left: Any, right: Any) -> str:
    if (a := types.typeof(left)) != (b := types.typeof(right)):
        return errors.SIDES.format(left=types.show(a), right=types.show(b))
    leaves = zip(types.leaves(a), jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return next(filter(None, (_leaf(path, x, y) for (path, _), x, y in leaves)), "")


def _leaf(path: tuple[str | int, ...], left: Any, right: Any) -> str:
    one, other = np.asarray(left), np.asarray(right)
    allowed = ULPS.get(one.dtype.name, 0)
    apart = ulps(one, other) if allowed else 0.0 if np.array_equal(one, other) else np.inf
    if apart <= allowed:
        return ""
    at = "/".join(map(str, path)) or "the value"
    sides = errors.SIDES.format(left=one.tolist(), right=other.tolist())
    return errors.APART.format(path=at, ulps=apart, allowed=allowed) + "\n" + sides


def _texts(equal: bool, left: str, right: str) -> str:
    return "" if equal else errors.SIDES.format(left=left, right=right)


def _signature(model: Model) -> Any:
    return types.canonical((model.require_input(), model.output))  # type: ignore[arg-type]
