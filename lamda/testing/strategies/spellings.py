"""Spellings: other ways to write one model, equal to it by the laws."""

from collections.abc import Callable
from typing import TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import lamda as lm
from lamda.kinds import Remat
from lamda.model import Model
from lamda.term import IDENTITY, Branch, Compose, Control, Named, Pick, Term, sequence

Detour: TypeAlias = Callable[[Term], Term | None]


def regroupings(
    model: Model, *, only_brackets: bool = False, marks: bool = True
) -> SearchStrategy[Model]:
    """Models with the address of ``model``, written otherwise.

    Brackets and identities are anywhere. What is more than brackets: detours through a branch and
    a pick, names, ``remat``, branches distributed over what comes before them and factored out of
    it, dicts in another order. With ``only_brackets`` the term is the same term, so the names of
    weights are the same too. Without ``marks`` there is no ``remat``, so the program is the same
    too, and not the address alone.
    """
    if only_brackets:
        return _grouped(model)
    return _spelled(model, _DETOURS + _MARKS if marks else _DETOURS).flatmap(_grouped)


@st.composite
def _grouped(draw: DrawFn, model: Model) -> Model:
    """The composition of the parts of a model, in brackets of any kind."""
    start = lm.identity.derive(IDENTITY, {}, input=model.input, output=model.input)
    parts = list(model)

    def group(first: int, last: int) -> Model:
        if last - first < 2:
            return parts[first]
        at = draw(st.integers(first + 1, last - 1))
        between = [lm.identity] * draw(st.integers(0, 1))
        return lm.compose(group(first, at), *between, group(at, last))

    if model.input is None:
        return group(0, len(parts)) if parts else model
    return lm.compose(start, group(0, len(parts))) if parts else model


@st.composite
def _spelled(draw: DrawFn, model: Model, detours: tuple[Detour, ...]) -> Model:
    """The model with other terms for its parts; what is one object stays one object."""
    seen: dict[int, tuple[Term, Term]] = {}

    def spell(term: Term) -> Term:
        if id(term) not in seen:  # the term is kept beside the result: its id stays its own
            seen[id(term)] = term, draw(_respelled(inside(term), detours))
        return seen[id(term)][1]

    def inside(term: Term) -> Term:
        match term:
            case Compose(parts):
                return sequence(*map(spell, parts))
            case Branch(parts, names):
                return draw(_reordered(Branch(tuple(map(spell, parts)), names)))
            case Control(kind, bodies):
                return Control(kind, tuple(map(spell, bodies)))
            case Named(name, inner):
                return Named(name, spell(inner))
            case _:
                return term

    return model.derive(spell(model.term), model.environment)


@st.composite
def _reordered(draw: DrawFn, term: Branch) -> Branch:
    if not term.names:
        return term
    order = draw(st.permutations(range(len(term.names))))
    return Branch(tuple(term.parts[i] for i in order), tuple(term.names[i] for i in order))


@st.composite
def _respelled(draw: DrawFn, term: Term, detours: tuple[Detour, ...]) -> Term:
    """The term, or another that means the same by one law."""
    # Chosen by number: Hypothesis hashes what it samples, and a term may be a tower.
    others = [other for detour in detours if (other := detour(term)) is not None]
    chosen = draw(st.integers(0, len(others)))
    return others[chosen - 1] if chosen else term


def _distributed(term: Term) -> Term | None:
    """``f >> branch(g, h)`` as ``branch(f >> g, f >> h)``."""
    match term:
        case Compose((*before, Branch(parts, names))) if before:
            return Branch(tuple(sequence(*before, part) for part in parts), names)
    return None


def _factored(term: Term) -> Term | None:
    """``branch(f >> g, f >> h)`` as ``f >> branch(g, h)``."""
    if not isinstance(term, Branch) or not term.parts:
        return None
    written = [part.parts if isinstance(part, Compose) else (part,) for part in term.parts]
    if any(not parts or parts[0] is not written[0][0] for parts in written):
        return None
    rests = tuple(sequence(*parts[1:]) for parts in written)
    return sequence(written[0][0], Branch(rests, term.names))


def _taken_apart(term: Term) -> Term | None:
    """``branch(f, g)`` as ``branch(f, g) >> branch(pick(0), pick(1))``."""
    if not isinstance(term, Branch):
        return None
    keys = term.names or range(len(term.parts))
    return sequence(term, Branch(tuple(map(Pick, keys)), term.names))


_DETOURS: tuple[Detour, ...] = (
    lambda term: Named("spelled", term),
    lambda term: sequence(Branch((term, IDENTITY)), Pick(0)),
    lambda term: sequence(Branch((IDENTITY, term)), Pick(1)),
    lambda term: sequence(Branch((term,), ("only",)), Pick("only")),
    _distributed,
    _factored,
    _taken_apart,
)
_MARKS: tuple[Detour, ...] = (lambda term: Control(Remat(), (term,)),)
