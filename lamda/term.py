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

from collections.abc import Callable, Hashable, Iterator
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
        if self.names is None and len(self.parts) == 2:
            return f"({' & '.join(map(_bracketed, self.parts))})"
        keys = (f"{name}=" for name in self.names) if self.names else [""] * len(self.parts)
        return f"branch({', '.join(f'{k}{p}' for k, p in zip(keys, self.parts, strict=True))})"


def _bracketed(term: "Term") -> str:
    return f"({term})" if isinstance(term, Compose) and term.parts else str(term)


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


def interpret(
    term: Term,
    apply: Callable[[Lift | Control, Any], Any],
    value: Any,
    key: Callable[[Any], Hashable] = id,
) -> Any:
    """The meaning of a term at ``value``, where a leaf of it means ``apply(leaf, value)``.

    A leaf is a lifted function, or a control, whose bodies ``apply`` interprets as it needs.

    Values are trees (tuples and dicts) of whatever ``apply`` works on: arrays, types, or wires
    of a graph. All readings of a term are this one function.

    A branch that is one object in several places, at values of one ``key``, is interpreted once:
    ``t >> (t & t)``, written ``n`` times, is ``n`` steps and not ``2 ** n``.
    """
    seen: dict[Hashable, tuple[Any, Any]] = {}

    def meaning(term: Term, value: Any) -> Any:
        match term:
            case Lift() | Control():
                return apply(term, value)
            case Named(_, inner):
                return meaning(inner, value)
            case Compose(parts):
                for part in parts:
                    value = meaning(part, value)
                return value
            case Branch():
                at = id(term), key(value)
                if at not in seen:  # the value is kept beside the result: its id stays its own
                    seen[at] = value, branches(term, value)
                return seen[at][1]
            case Pick(name):
                return value[name]

    def branches(term: Branch, value: Any) -> Any:
        results = [meaning(part, value) for part in term.parts]
        if term.names is None:
            return tuple(results)
        return dict(zip(term.names, results, strict=True))

    return meaning(term, value)


def lifts(term: Term, seen: set[int] | None = None) -> Iterator[tuple[tuple[str, ...], Lift]]:
    """Every lifted function with the path of its weights, in order of place.

    What is one object in several places is given where it stands first.

    Paths depend on the place in the flattened composition and not on brackets: a part is called
    by its name, by its name and a number where that is taken, by its key in a branch, by its
    number among several bodies of a control. A term that is one part needs no name, and what is
    named ``""`` takes no place in a path.
    """
    seen = set() if seen is None else seen
    if id(term) in seen:
        return
    seen.add(id(term))
    match term:
        case Lift():
            yield (), term
        case Named(_, inner) | Control(_, (inner,)):
            yield from lifts(inner, seen)
        case Control(_, bodies):
            for number, body in enumerate(bodies):
                yield from (((str(number), *path), lift) for path, lift in lifts(body, seen))
        case Compose(parts):
            for name, part in zip(distinct(parts), parts, strict=True):
                yield from _under(name, part, seen)
        case Branch(parts, names):
            keys = names or tuple(map(str, range(len(parts))))
            for name, part in zip(keys, parts, strict=True):
                yield from _under(name, part, seen)
        case Pick():
            pass


def slots(term: Term) -> list[Slot]:
    """Every variable of a term, in order of first appearance."""
    found = (lift.slot for _, lift in lifts(term) if lift.slot is not None)
    return list(dict.fromkeys(found))


def _under(name: str, part: Term, seen: set[int]) -> Iterator[tuple[tuple[str, ...], Lift]]:
    """The lifted functions of a part that stands at ``name``."""
    step = () if isinstance(part, Named) and not part.name else (name,)
    yield from (((*step, *path), lift) for path, lift in lifts(part, seen))


def distinct(parts: tuple[Term, ...]) -> Iterator[str]:
    """The names of the parts of a composition, made distinct from left to right.

    >>> list(distinct((Pick(0), Pick(1), Named("pick_1", Pick(2)))))
    ['pick', 'pick_1', 'pick_1_1']
    """
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for part in parts:
        name = called(part)
        count = counts.get(name, 0)
        while (made := f"{name}_{count}" if count else name) in taken:
            count += 1
        counts[name] = count + 1
        taken.add(made)
        yield made


def written(term: Term, seen: dict[int, int] | None = None) -> int:
    """How many parts a term has when it is written out, shared ones as often as they stand there.

    >>> pair = Branch((Pick(0), Pick(1)))
    >>> written(Branch((pair, pair)))
    4
    """
    seen = {} if seen is None else seen
    if id(term) not in seen:
        match term:
            case Compose(parts) | Branch(parts) | Control(_, parts):
                seen[id(term)] = sum(written(part, seen) for part in parts)
            case _:
                seen[id(term)] = 1
    return seen[id(term)]


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


def erase(term: Term) -> Term:
    """The term without the controls that leave no trace in what it means."""

    def body(part: Term) -> Term | None:
        if isinstance(part, Control) and part.kind.transparent:
            return erase(part.bodies[0])
        return None

    return rewrite(term, body)


def rename(term: Term, slot: Callable[[Slot], Slot]) -> Term:
    """The term with every variable replaced."""

    def renamed(part: Term) -> Term | None:
        if isinstance(part, Lift) and part.slot is not None:
            return Lift(part.function, slot(part.slot))
        return None

    return rewrite(term, renamed)


def rewrite(term: Term, change: Callable[[Term], Term | None]) -> Term:
    """The term with every part for which ``change`` gives a term replaced, outermost first.

    >>> str(rewrite(sequence(Pick(0), Pick(1)), lambda t: IDENTITY if t == Pick(1) else None))
    'pick(0)'
    """

    @_once
    def new(term: Term) -> Term:
        changed = change(term)
        if changed is not None:
            return changed
        match term:
            case Compose(parts):
                return sequence(*map(new, parts))
            case Branch(parts, names):
                return Branch(tuple(map(new, parts)), names)
            case Control(kind, bodies):
                return Control(kind, tuple(map(new, bodies)))
            case Named(name, inner):
                return Named(name, new(inner))
            case _:
                return term

    return new(term)


def _once(change: Callable[[Term], Term]) -> Callable[[Term], Term]:
    """``change`` of each object once, so that what a term shares stays shared."""
    seen: dict[int, tuple[Term, Term]] = {}

    def once(term: Term) -> Term:
        if id(term) not in seen:  # the term is kept beside the result: its id stays its own
            seen[id(term)] = term, change(term)
        return seen[id(term)][1]

    return once
