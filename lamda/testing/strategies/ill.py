"""Compositions with one mistake, and the error that each must give."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import lamda as lm
from lamda import check, errors, types
from lamda.model import Model
from lamda.testing.strategies.terms import models
from lamda.types import ArrayType, Type

DTYPES = ("float32", "int32", "bool", "float16")


@dataclass(frozen=True)
class Ill:
    """A composition that must be refused.

    ``make()`` composes the operands, with the one mistake, and must raise ``error`` with every one
    of ``texts`` in its message.
    """

    spelling: str
    operands: tuple[Model, ...]
    make: Callable[[], Any]
    error: type[errors.LamdaError]
    texts: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Ill({self.spelling}, of {', '.join(map(repr, self.operands))})"


class Mistaken(NamedTuple):
    """A type with one mistake."""

    given: Type
    difference: str
    """What an error says of it, where the type is given and this one is wanted."""


def ill_typed() -> SearchStrategy[Ill]:
    """A composition with one mistake at a random place: a width, a dtype, a rank, a structure."""
    return st.sampled_from(_MISTAKES).flatmap(lambda mistake: mistake())


@st.composite
def mistaken(draw: DrawFn, type: Type, where: str = "") -> Mistaken:
    """A type that differs from another in one thing, which unification can not mend."""
    if isinstance(type, ArrayType):
        return draw(_array(type, where))
    keys = list(range(len(type))) if isinstance(type, tuple) else sorted(type)
    at = draw(st.sampled_from([None, *keys]))
    if at is None:
        return draw(_tree(type, where))
    inner = draw(mistaken(type[at], f"{where}[{at!r}]"))  # type: ignore[index]
    return Mistaken(_put(type, at, inner.given), inner.difference)


@st.composite
def _array(draw: DrawFn, type: ArrayType, where: str) -> Mistaken:
    fixed = [axis for axis, size in enumerate(type.shape) if isinstance(size, int)]
    at = f" at {where}" if where else ""
    match draw(st.sampled_from(["width", "dtype", "rank", "structure"])):
        case "width" if fixed:
            axis = draw(st.sampled_from(fixed))
            size = type.shape[axis]
            shape = (*type.shape[:axis], size + 1, *type.shape[axis + 1 :])  # type: ignore[operator]
            text = errors.AXIS.format(axis=axis, where=at, given=size, wanted=size + 1)  # type: ignore[operator]
            return Mistaken(ArrayType(type.dtype, shape), text)
        case "rank":
            wrong = ArrayType(type.dtype, (*type.shape, 2))
            ranks = {"given_rank": len(type.shape), "wanted_rank": len(wrong.shape)}
            return Mistaken(wrong, errors.RANK.format(where=at, given=type, wanted=wrong, **ranks))
        case "structure":
            said = {"given": f"one array, {type}", "wanted": "a tuple of 1"}
            return Mistaken((type,), errors.STRUCTURE.format(where=at, **said))
        case _:
            dtype = draw(st.sampled_from([d for d in DTYPES if d != type.dtype]))
            text = errors.DTYPE.format(where=at, given=type.dtype, wanted=dtype)
            return Mistaken(ArrayType(dtype, type.shape), text)


@st.composite
def _tree(draw: DrawFn, type: Any, where: str) -> Mistaken:
    at = f" at {where}" if where else ""
    extra = ArrayType("float32", ())
    if isinstance(type, tuple):
        shorter = draw(st.booleans()) and len(type) > 0
        wrong = type[:-1] if shorter else (*type, extra)
        said = {"given": f"a tuple of {len(type)}", "wanted": f"a tuple of {len(wrong)}"}
        return Mistaken(wrong, errors.STRUCTURE.format(where=at, **said))
    key = draw(st.sampled_from(["another", *sorted(type)]))
    if key in type:
        rest = {name: part for name, part in type.items() if name != key}
        return Mistaken(rest, errors.EXTRA_KEYS.format(where=at, given=repr(key)))
    more = {**type, key: extra}
    return Mistaken(more, errors.MISSING_KEYS.format(where=at, given=repr(key)))


def _put(type: Any, at: int | str, part: Type) -> Type:
    if isinstance(type, tuple):
        return tuple(part if i == at else each for i, each in enumerate(type))
    return {**type, at: part}  # type: ignore[dict-item]


# --- mistakes, by what is composed ---


@st.composite
def _in_a_composition(draw: DrawFn) -> Ill:
    f = draw(models())
    wrong = draw(mistaken(_output(f)))
    g = draw(models(input=wrong.given))
    before = lm.named(f, "before") if draw(st.booleans()) else f
    after = g >> draw(models(input=_output(g))) if draw(st.booleans()) else g
    return Ill(
        "f >> g",
        (before, after),
        lambda: before >> after,
        errors.MismatchError,
        (
            f"{check.place(before.term, '').name} does not compose with "
            f"{check.first(after.term, '').name}:",
            f"gives {types.show(f.output)}\n      made at {check.place(f.term, f.where).where}"
            if before is f
            else f"gives {types.show(f.output)}",
            f"takes {types.show(g.input)}",
            wrong.difference,
        ),
    )


@st.composite
def _in_a_function(draw: DrawFn) -> Ill:
    f = draw(models())
    wrong = draw(mistaken(_output(f)))
    g = taking(wrong.given)
    return Ill(
        "fn(lambda x: g(f(x)))",
        (f, g),
        lambda: lm.fn(lambda x: g(f(x))),
        errors.MismatchError,
        (types.show(f.output), types.show(wrong.given), wrong.difference),
    )


@st.composite
def _in_a_branch(draw: DrawFn) -> Ill:
    f = draw(models())
    wrong = draw(mistaken(_input(f)))
    g = draw(models(input=wrong.given))
    branch, spelling = draw(st.sampled_from(_BRANCHES))
    return Ill(
        spelling,
        (f, g),
        lambda: branch(f, g),
        errors.MismatchError,
        (
            f"{check.first(f.term, '').name} and {check.first(g.term, '').name} do not branch",
            f"takes {types.show(f.input)}",
            f"takes {types.show(g.input)}",
            wrong.difference,
        ),
    )


_BRANCHES = (
    (lambda f, g: f & g, "f & g"),
    (lambda f, g: lm.branch(a=f, b=g), "branch(a=f, b=g)"),
    (lambda f, g: lm.add(f, g), "add(f, g)"),
)


@st.composite
def _side_by_side(draw: DrawFn) -> Ill:
    f = draw(models())
    g = draw(models(input=_input(f)))
    wrong = draw(mistaken(_output(g), "[1]"))
    h, k = taking(_output(f)), taking(wrong.given)
    return Ill(
        "(f & g) >> (h @ k)",
        (f, g, h, k),
        lambda: (f & g) >> (h @ k),
        errors.MismatchError,
        (types.show((f & g).output), types.show((h @ k).input), wrong.difference),
    )


@st.composite
def _in_a_join(draw: DrawFn) -> Ill:
    f = draw(models())
    wrong = draw(mistaken(_output(f)))
    g = draw(models(input=_input(f), output=wrong.given))
    text = f"gives {types.show(f.output)}, and "
    said = f"gives {types.show(wrong.given)}. Reshape"
    return Ill("add(f, g)", (f, g), lambda: lm.add(f, g), errors.MismatchError, (text, said))


@st.composite
def _in_a_loop(draw: DrawFn) -> Ill:
    f = draw(models())
    wrong = draw(mistaken(_input(f)))
    body = draw(models(input=_input(f), output=wrong.given))
    text = errors.LOOP_OUTPUT.format(given=types.show(wrong.given), wanted=types.show(f.input))
    return Ill(
        "iterate(f, n=2)", (body,), lambda: lm.iterate(body, n=2), errors.MismatchError, (text,)
    )


@st.composite
def _in_a_switch(draw: DrawFn) -> Ill:
    f = draw(models())
    wrong = draw(mistaken(_output(f)))
    g = draw(models(input=_input(f), output=wrong.given))
    i = draw(models(input=_input(f), output=ArrayType("int32", ())))
    shown = {"given": types.show(wrong.given), "wanted": types.show(f.output)}
    return Ill(
        "switch(i, [f, g])",
        (i, f, g),
        lambda: lm.switch(i, [f, g]),
        errors.MismatchError,
        (errors.SWITCH_OUTPUT.format(number=1, **shown),),
    )


@st.composite
def _in_a_condition(draw: DrawFn) -> Ill:
    f = draw(models())
    wrong = draw(mistaken(ArrayType("bool", ())))
    p = draw(models(input=_input(f), output=wrong.given))
    text = errors.UNTIL_OUTPUT.format(given=types.show(wrong.given))
    body = taking(_input(f))
    make = lambda: lm.iterate(body, until=p)  # noqa: E731
    return Ill("iterate(f, until=p)", (body, p), make, errors.MismatchError, (text,))


@st.composite
def _in_a_pick(draw: DrawFn) -> Ill:
    f = draw(models())
    name, type = check.place(f.term, "").name, types.show(f.output)
    if isinstance(f.output, ArrayType):
        text = errors.NOT_A_TREE.format(name=name, type=type)
    else:
        text = f"{name} gives {type}, which has no 'absent': pick one of "
    make = lambda: f >> lm.pick("absent")  # noqa: E731
    return Ill('f >> pick("absent")', (f,), make, errors.MismatchError, (text,))


@st.composite
def _in_a_constant(draw: DrawFn) -> Ill:
    f, g = draw(models()), draw(models())
    wrong = draw(mistaken(_input(f))).given
    fixed = types.substitute(wrong, dict.fromkeys(types.names(wrong), 2))
    value = types.transform(lambda leaf: np.zeros(leaf.shape, leaf.dtype), fixed)  # type: ignore[arg-type]
    both = f @ g
    return Ill(
        "partial(f @ g, v)",
        (both,),
        lambda: lm.partial(both, value),
        errors.MismatchError,
        ("the fixed component 0", types.show(types.typeof(fixed)), types.show(_input(f))),
    )


def taking(type: Type) -> Model:
    """The identity that declares the type it takes: a part that says no to all others."""
    return lm.lift(_same, input=type, name="taking")


def _same(x: Any) -> Any:
    return x


def _input(f: Model) -> Type:
    return f.require_input()


def _output(f: Model) -> Type:
    assert f.output is not None
    return f.output


_MISTAKES: tuple[Callable[[], SearchStrategy[Ill]], ...] = (
    _in_a_composition,
    _in_a_branch,
    _side_by_side,
    _in_a_join,
    _in_a_loop,
    _in_a_switch,
    _in_a_condition,
    _in_a_pick,
    _in_a_constant,
    _in_a_function,
)
