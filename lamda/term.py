"""Terms: how functions are combined. Six primitive nodes, everything else is defined by them.

=======================  =======================================================
``Lift(f, s)``           a function, and the variable for its weights
``Compose((t, ...))``    ``x -> ... t2(t1(x))``; of nothing, the identity
``Branch((t, ...))``     ``x -> (t1(x), t2(x))``, or a dict by names
``Pick(k)``              ``x -> x[k]``
``Control(k, (t, ...))`` a function made of functions: switch, scan, iterate, vmap
``Named(n, t)``          ``t``, called ``n``
=======================  =======================================================

An architecture is an open term: its free variables, the :class:`Slot`, stand for weights. The
meaning of a term is given by what a lifted function means: :func:`interpret`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from lamda.function import Function
from lamda.kind import Kind


class Token:
    """The identity of a part: two parts are tied when they have one token."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Slot:
    """A variable that stands for the weights of a part; frozen ones are not trained."""

    token: Token
    frozen: bool = False

    def __repr__(self) -> str:
        return "Slot(frozen=True)" if self.frozen else "Slot()"


@dataclass(frozen=True, slots=True)
class Lift:
    """A lifted function; ``slot`` is ``None`` where it has no weights."""

    function: Function
    slot: Slot | None = None

    def __str__(self) -> str:
        return self.function.name


@dataclass(frozen=True, slots=True)
class Compose:
    """``Compose((f, g))(x)`` is ``g(f(x))``; always flat, and never of one part."""

    parts: tuple["Term", ...]

    def __str__(self) -> str:
        return " >> ".join(map(str, self.parts)) or "identity"


@dataclass(frozen=True, slots=True)
class Branch:
    """``Branch((f, g))(x)`` is ``(f(x), g(x))``; with names, a dict."""

    parts: tuple["Term", ...]
    names: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.names is None:
            parts = [f"({p})" if isinstance(p, Compose) else str(p) for p in self.parts]
            return f"({' & '.join(parts)})"
        parts = [f"{n}={p}" for n, p in zip(self.names, self.parts, strict=True)]
        return f"branch({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Pick:
    """``Pick(k)(x)`` is ``x[k]``."""

    key: str | int

    def __str__(self) -> str:
        return f"pick({self.key!r})"


@dataclass(frozen=True, slots=True)
class Control:
    """``kind`` of functions: what ``kind.run`` makes of the functions that the bodies mean."""

    kind: Kind
    bodies: tuple["Term", ...]

    def __str__(self) -> str:
        return self.kind.show([str(body) for body in self.bodies])


@dataclass(frozen=True, slots=True)
class Named:
    """``Named(n, t)`` means ``t``; the name is for people and for paths."""

    name: str
    term: "Term"

    def __str__(self) -> str:
        return self.name


Term: TypeAlias = Control | Named | Lift | Compose | Branch | Pick

IDENTITY = Compose(())


def sequence(*terms: Term) -> Term:
    """The flat composition: brackets and identities leave no trace.

    >>> sequence(Pick(0), sequence(Pick(1), IDENTITY)) == sequence(Pick(0), Pick(1))
    True
    """
    parts: list[Term] = []
    for term in terms:
        parts += term.parts if isinstance(term, Compose) else (term,)
    return parts[0] if len(parts) == 1 else Compose(tuple(parts))


def interpret(term: Term, apply: Callable[[Lift | Control, Any], Any], value: Any) -> Any:
    """The meaning of a term at ``value``, where a leaf of it means ``apply(leaf, value)``.

    A leaf is a lifted function, or a control, whose bodies ``apply`` interprets as it needs.

    Values are trees (tuples and dicts) of whatever ``apply`` works on: arrays, types, or wires
    of a graph. All readings of a term are this one function.
    """
    match term:
        case Lift() | Control():
            return apply(term, value)
        case Named(_, inner):
            return interpret(inner, apply, value)
        case Compose(parts):
            for part in parts:
                value = interpret(part, apply, value)
            return value
        case Branch(parts, names):
            results = [interpret(p, apply, value) for p in parts]
            return tuple(results) if names is None else dict(zip(names, results, strict=True))
        case Pick(key):
            return value[key]


def lifts(term: Term) -> Iterator[tuple[tuple[str, ...], Lift]]:
    """Every lifted function with the path of its weights, in order of place.

    Paths depend on the place in the flattened composition and not on brackets: a part is called
    by its name, by its name and a number where that is taken, by its key in a branch, by its
    number among several bodies of a control. A term that is one part needs no name.
    """
    match term:
        case Lift():
            yield (), term
        case Named(_, inner) | Control(_, (inner,)):
            yield from lifts(inner)
        case Control(_, bodies):
            for number, body in enumerate(bodies):
                yield from (((str(number), *path), lift) for path, lift in lifts(body))
        case Compose(parts):
            for name, part in zip(_distinct(parts), parts, strict=True):
                yield from (((name, *path), lift) for path, lift in lifts(part))
        case Branch(parts, names):
            keys = names or tuple(map(str, range(len(parts))))
            for name, part in zip(keys, parts, strict=True):
                yield from (((name, *path), lift) for path, lift in lifts(part))
        case Pick():
            pass


def _distinct(parts: tuple[Term, ...]) -> Iterator[str]:
    """The names of the parts of a composition, made distinct from left to right."""
    seen: dict[str, int] = {}
    for part in parts:
        name = called(part)
        count = seen[name] = seen.get(name, -1) + 1
        yield f"{name}_{count}" if count else name


def called(term: Term) -> str:
    """The name of a part in paths."""
    match term:
        case Lift(function, _):
            return function.name
        case Named(name, _):
            return name
        case Control(kind, _):
            return kind.name
        case _:
            return type(term).__name__.lower()


def rename(term: Term, slot: Callable[[Slot], Slot]) -> Term:
    """The term with every variable replaced."""
    match term:
        case Lift(function, old) if old is not None:
            return Lift(function, slot(old))
        case Compose(parts):
            return Compose(tuple(rename(p, slot) for p in parts))
        case Branch(parts, names):
            return Branch(tuple(rename(p, slot) for p in parts), names)
        case Control(kind, bodies):
            return Control(kind, tuple(rename(b, slot) for b in bodies))
        case Named(name, inner):
            return Named(name, rename(inner, slot))
        case _:
            return term
