"""Types and purity: what does not fit and what is not pure is refused when it is composed."""

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st

import lamda as lm
from lamda import errors, types
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, broken, law
from lamda.testing.level import Level, Tier
from lamda.testing.operands import Operands
from lamda.testing.reference import reference
from lamda.testing.strategies.ill import ill_typed, mistaken
from lamda.testing.strategies.spellings import regroupings
from lamda.unify import Unifier


@law("what does not fit is refused when composing, by its types and its axis", Level.TYPE)
def a_mismatch_is_refused_when_composing(draw: Draw):
    ill = draw(ill_typed(), "ill")
    kept = Operands(*ill.operands)
    try:
        made = ill.make()
    except ill.error as error:
        for text in ill.texts:
            if text not in str(error):
                raise broken(errors.NOT_SAID.format(error=error, text=text)) from error
    else:
        raise broken(errors.NOT_REFUSED.format(what=f"{ill!r}, which gave {made!r},"))
    kept.require_kept()


@law("a value of another type is refused, before anything runs", Level.TYPE)
def an_input_of_another_type_is_refused(draw: Draw):
    f = draw.model()
    wrong = draw(mistaken(f.require_input()), "another type").given
    try:
        f.accept(wrong)
    except errors.MismatchError:
        return
    raise broken(errors.NOT_REFUSED.format(what=f"{types.show(wrong)} into {f!r}"))


@law("the type that is inferred is the type of the value", Level.TYPE, Tier.NUMPY)
def inferred_types_are_those_of_values(draw: Draw):
    f = draw.model()
    x = draw.input(f)
    require_typed(f, x, reference(f, x))


@law("another spelling of a model has its types", Level.TYPE)
def spellings_have_one_type(draw: Draw):
    f = draw.model()
    return draw(regroupings(f), "f'"), f


@law("another spelling of a model has its address", Level.ADDRESS)
def spellings_have_one_address(draw: Draw):
    f = draw.model()
    return draw(regroupings(f), "f'"), f


@law("an impure function is refused when it is lifted, or when it gets a type", Level.TYPE)
def an_impure_function_is_refused(draw: Draw):
    name, make = draw(st.sampled_from(list(IMPURE.items())), "function")
    at_once = draw(st.booleans(), "typed")
    try:
        made = lm.lift(make(), input="float32[n]" if at_once else None)
        if not at_once:
            lm.compose(lm.lift(lambda x: x, input="float32[n]"), made)
    except errors.ImpureError:
        return
    raise broken(errors.NOT_REFUSED.format(what=f"a function that is not pure ({name})"))


def require_typed(f: lm.Model, x: Any, value: Any) -> None:
    """Raises LawError unless a value of a model at ``x`` has the type that is inferred."""
    agreed = Unifier()
    agreed.unify(types.typeof(x), f.require_input())
    assert f.output is not None
    expected, given = agreed.right(f.output), types.typeof(value)
    if types.plain(expected) != types.plain(given):
        raise broken(errors.SIDES.format(left=types.show(expected), right=types.show(given)))


# --- functions that are not pure ---

Impure = Callable[[Any], Any]
calls = 0


def _counter() -> Impure:
    count = 0

    def counting(x: Any) -> Any:
        nonlocal count
        count += 1
        return x

    return counting


def _global() -> Impure:
    def counting(x: Any) -> Any:
        global calls
        calls += 1
        return x

    return counting


def _list() -> Impure:
    seen: list[Any] = []

    def keeping(x: Any) -> Any:
        seen.append(1)
        return x

    return keeping


def _dict() -> Impure:
    seen: dict[str, Any] = {}

    def keeping(x: Any) -> Any:
        seen["x"] = len(seen)
        return x

    return keeping


def _array() -> Impure:
    kept = np.zeros(2)

    def writing(x: Any) -> Any:
        kept[0] += 1
        return x

    return writing


def _attribute() -> Impure:
    class Box:
        count = 0

    box = Box()

    def writing(x: Any) -> Any:
        box.count = box.count + 1
        return x

    return writing


def _random() -> Impure:
    generator = random.Random(0)
    return lambda x: x * generator.random()


def _iterator() -> Impure:
    numbers = itertools.count(1)
    return lambda x: x * next(numbers)


def _clock() -> Impure:
    # A number that float32 can hold, however long the machine has been up.
    return lambda x: x + time.perf_counter_ns() % 1_000_003


def _print() -> Impure:
    def printing(x: Any) -> Any:
        jax.debug.print("{}", x)
        return x

    return printing


IMPURE: dict[str, Callable[[], Impure]] = {
    "it counts": _counter,
    "it writes a global": _global,
    "it appends to a list": _list,
    "it writes into a dict": _dict,
    "it writes into an array": _array,
    "it writes an attribute": _attribute,
    "it draws random numbers": _random,
    "it takes from an iterator": _iterator,
    "it reads a clock": _clock,
    "it prints": _print,
}


TYPING = Suite(
    "typing",
    (
        a_mismatch_is_refused_when_composing,
        an_input_of_another_type_is_refused,
        inferred_types_are_those_of_values,
        spellings_have_one_type,
        spellings_have_one_address,
        an_impure_function_is_refused,
    ),
)
