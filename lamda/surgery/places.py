"""Places: where a part stands in a model, how to read what stands there, and how to put another.

A place is the way down to a part: the number of a child at every level. In a composition a place
may be a run of several parts, for a composition inside of a longer one leaves no brackets.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lamda import check, errors
from lamda.combinators.branch import branch
from lamda.combinators.compose import compose, identity
from lamda.model import Model
from lamda.rebuild import narrowed, rebuild, typed
from lamda.term import Branch, Compose, Control, Named, Term, distinct


class Place(NamedTuple):
    """A part of a model: its path as in ``model.weights``, its way down, how many parts it is."""

    path: tuple[str, ...]
    way: tuple[int, ...]
    term: Term
    size: int = 1
    listed: bool = False
    """Whether it stands in a composition, where its name is part of the path."""


def places(term: Term, once: bool = False) -> Iterator[Place]:
    """Every place in a term, a part before what is inside of it, in order.

    ``once``: what is one object in several places is entered where it stands first.
    """
    yield from _below(Place((), (), term), set() if once else None)


def _below(place: Place, seen: set[int] | None) -> Iterator[Place]:
    yield place
    if seen is not None:
        if id(place.term) in seen:
            return
        seen.add(id(place.term))
    listed = isinstance(place.term, Compose)
    for i, (name, child) in enumerate(zip(steps(place.term), children(place.term), strict=True)):
        path = place.path if name is None else (*place.path, name)
        yield from _below(Place(path, (*place.way, i), child, 1, listed), seen)


def children(term: Term) -> tuple[Term, ...]:
    """The terms that a term is made of."""
    match term:
        case Compose(parts) | Branch(parts, _):
            return parts
        case Control(_, bodies):
            return bodies
        case Named(_, inner):
            return (inner,)
        case _:
            return ()


def names(term: Term) -> Sequence[str | None]:
    """What each child is called in a path; ``None`` where it is not mentioned."""
    match term:
        case Compose(parts):
            return list(distinct(parts))
        case Branch(parts, named):
            return named or [str(i) for i in range(len(parts))]
        case Control(_, bodies) if len(bodies) > 1:
            return [str(i) for i in range(len(bodies))]
        case _:
            return [None] * len(children(term))


def steps(term: Term) -> Iterator[str | None]:
    """What each child adds to a path; ``None`` for nothing."""
    for name, child in zip(names(term), children(term), strict=True):
        yield None if isinstance(child, Named) and not child.name else name


def parts(model: Model) -> tuple[Model, ...]:
    """The children of a model, as models; each has the type that it is given there."""
    if "parts" not in model._memo:
        model._memo["parts"] = tuple(
            rebuild(child, model.environment, input)
            for child, input in zip(children(model.term), _inputs(model), strict=True)
        )
    return model._memo["parts"]


def _inputs(model: Model) -> Iterator[check.Type | None]:
    """What each child of a model is given."""
    term, input = model.term, model.input
    if isinstance(term, Control):
        count = len(term.bodies)
        yield from [None] * count if input is None else term.kind.inputs(input, count)
    for child in () if isinstance(term, Control) else children(term):
        yield input
        if isinstance(term, Compose) and input is not None:
            input = check.infer(child, input, model.weights_type).output
        elif isinstance(term, Compose):
            input = rebuild(child, model.environment).output


def run(model: Model, start: int, stop: int) -> Model:
    """The composition of the parts ``start`` to ``stop`` of a composition."""
    if not isinstance(model.term, Compose):
        return model if (start, stop) == (0, 1) else typed(identity, model.input)
    inside = model.term.parts[start:stop]
    if len(inside) == 1:
        return parts(model)[start]
    known = [*(part.input for part in parts(model)), model.output]
    return rebuild(Compose(inside), model.environment, known[min(start, len(known) - 1)])


def get(model: Model, place: Place) -> Model:
    """What stands at a place."""
    for step in place.way[:-1]:
        model = parts(model)[step]
    if place.way and place.size > 1:
        return run(model, place.way[-1], place.way[-1] + place.size)
    return parts(model)[place.way[-1]] if place.way else model


class Edit(NamedTuple):
    """What comes in place of a run of parts: models to compose, none to remove it."""

    size: int
    new: tuple[Model, ...]


def put(model: Model, edits: Mapping[tuple[int, ...], Edit]) -> Model:
    """The model with parts replaced, by their ways, at its type where they fit at that.

    Raises MismatchError where they do not fit.
    """
    return narrowed(_put(model, edits), model.input)


def _put(model: Model, edits: Mapping[tuple[int, ...], Edit]) -> Model:
    if () in edits:
        return compose(*edits[()].new) if edits[()].new else identity
    if not edits:
        return model
    match model.term:
        case Compose():
            made = _in_composition(model, edits)
            return compose(*made) if made else identity
        case Branch(_, named):
            keys = named or tuple(map(str, range(len(parts(model)))))
            kept = {k: m for k, m in zip(keys, _each(model, edits), strict=True) if m is not None}
            return typed(branch(**kept) if named else branch(*kept.values()), model.input)
        case Named(name, _):
            (inner,) = (m or identity for m in _each(model, edits))
            return typed(inner.derive(Named(name, inner.term), inner.environment), model.input)
        case Control(kind, _):
            bodies = [m or identity for m in _each(model, edits)]
            bound = {s: w for body in bodies for s, w in body.environment.items()}
            term = Control(kind, tuple(body.term for body in bodies))
            return rebuild(term, bound, model.input)
        case _:
            raise LookupError(edits)


def _inside(edits: Mapping[tuple[int, ...], Edit], child: int) -> dict[tuple[int, ...], Edit]:
    return {way[1:]: edit for way, edit in edits.items() if way[0] == child}


def _each(model: Model, edits: Mapping[tuple[int, ...], Edit]) -> Iterator[Model | None]:
    """Every child after the edits inside of it; ``None`` for what is removed."""
    for i, part in enumerate(parts(model)):
        inside = _inside(edits, i)
        gone = () in inside and not inside[()].new
        yield None if gone else _put(_bare(part), inside)


def _in_composition(model: Model, edits: Mapping[tuple[int, ...], Edit]) -> list[Model]:
    made: list[Model] = []
    known, i = parts(model), 0
    while i < len(known):
        if (i,) in edits:
            made += edits[(i,)].new
            i += edits[(i,)].size
        else:
            # Only the first part needs to be told its input; the others find it in what they get.
            part = _bare(known[i]) if made else known[i]
            made.append(_put(part, _inside(edits, i)))
            i += 1
    return made


def _bare(part: Model) -> Model:
    """A part with the types that it declares, free to be given something else."""
    try:
        return rebuild(part.term, part.environment)
    except errors.MismatchError:  # at what its parts declare it does not fit, but where it stands
        return part.derive(part.term, part.environment, input=None, output=None)
