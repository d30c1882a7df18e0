"""Selections: parts of a model found by path, name, function, type or predicate. A lens."""

import fnmatch
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

from lamda import errors, types
from lamda.model import Model, models
from lamda.surgery.places import Edit, Place, get, places, put
from lamda.term import Compose, Lift, Named, Term, called

What: TypeAlias = "str | type | Callable[..., Any] | Model | Sequence[str] | None"


@dataclass(frozen=True)
class Selection:
    """Places in a model, none inside of another: what stands there is read and replaced.

    Laws, where ``s`` selects places of ``m``: ``s.set(*s.get())`` is ``m``; what stands at
    ``s.paths`` of ``s.set(p)`` is ``p``; setting again forgets what was set.
    """

    model: Model
    places: tuple[Place, ...]
    said: str
    """What was asked for, as errors say it."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def paths(self) -> tuple[str, ...]:
        """The path of every place, as in ``model.weights``; the root is ``""``."""
        return tuple("/".join(place.path) for place in self.places)

    def get(self) -> list[Model]:
        """The parts, in order; each has the type that it is given there."""
        return [get(self.model, place) for place in self.places]

    def set(self, *new: Model) -> Model:
        """The model with one part at every place, or with one for each.

        A part in a composition takes the name of the part that it replaces, so paths stay. One
        part at several places is tied. Raises MismatchError where a part does not fit.
        """
        given = models("set", new)
        if len(given) not in (1, len(self)):
            text = errors.SET_COUNT.format(places=len(self), given=len(given))
            raise errors.SpecError(text)
        return self._put(given * len(self) if len(given) == 1 else given)

    def apply(self, function: Callable[[Model], Model]) -> Model:
        """The model with ``function(part)`` for every part; tied parts stay tied."""
        made: dict[Hashable, Model] = {}
        new: list[Model] = []
        for part in self.get():
            key = (part.term, None if part.input is None else types.plain(part.input))
            tied = bool(part.slots)
            new.append(made[key] if tied and key in made else function(part))
            made[key] = new[-1]
        return self._put(models("apply", new) if new else [])

    def insert(self, *, before: Model | None = None, after: Model | None = None) -> Model:
        """The model with a part put in before, or after, every place."""

        def around(part: Model) -> tuple[Model, ...]:
            return tuple(m for m in (before, part, after) if m is not None)

        return self._edit([around(part) for part in self.get()])

    def remove(self) -> Model:
        """The model without the parts: a branch loses an entry, a body becomes the identity."""
        return self._edit([() for _ in self.places])

    def require(self) -> None:
        """Raises MissingError where nothing is selected."""
        if not self.places:
            known = dict.fromkeys("/".join(p.path) for p in places(self.model.term) if p.path)
            paths = ", ".join(map(repr, known)) or "none: it is one part"
            text = errors.NOTHING_SELECTED.format(name=self.model, what=self.said, paths=paths)
            raise errors.MissingError(text)

    def _put(self, new: Sequence[Model]) -> Model:
        pairs = zip(self.places, new, strict=True)
        return self._edit([(_called(place, model),) for place, model in pairs])

    def _edit(self, new: Sequence[tuple[Model, ...]]) -> Model:
        self.require()
        self.require()
        pairs = zip(self.places, new, strict=True)
        return put(self.model, {p.way: Edit(p.size, models) for p, models in pairs})


def select(
    model: Model, what: What = None, *, where: Callable[[Model], bool] | None = None
) -> Selection:
    """``select(m, what)`` is the parts of ``m`` that ``what`` says; outermost first, none twice.

    ``what`` is a path as in ``m.weights``, ``"encoder/head"``, where ``*`` stands for any part of
    a step and ``**`` for any steps, so ``"**/head"`` is everything called ``head``; several paths;
    a signature, ``"float32[b, 8] -> float32[b, 2]"``, where ``?`` is any type; a function or a
    class of Flax modules that was lifted; or a model, which is found where its term occurs.
    ``where`` is a predicate on parts.

    >>> import jax.numpy as jnp, lamda as lm
    >>> scale = lambda w, x: x * w
    >>> f = lm.lift(scale, jnp.float32(2), input="float32[]", name="f")
    >>> g = lm.lift(scale, jnp.float32(3), input="float32[]", name="g")
    >>> m = f >> lm.branch(a=f, b=g >> lm.lift(jnp.sin))
    >>> select(m, "**/b").paths, select(m, "f").paths, len(select(m, scale))
    (('branch/b',), ('f',), 3)
    >>> print(select(m, jnp.sin).set(lm.lift(jnp.cos, name="cos")))
    f >> branch(a=f, b=g >> sin)
    >>> print(select(m, "branch/b").apply(lambda part: part[:-1]))
    f >> branch(a=f, b=g)

    Laws: those of a lens, see :class:`Selection`.

    Raises SpecError where ``what`` says nothing that can be found.
    """
    found = [p for p in _candidates(model, what) if where is None or where(get(model, p))]
    kept: list[Place] = []
    for place in found:
        if not any(_overlap(place, other) for other in kept):
            kept.append(place)
    said = what.name if isinstance(what, Model) else getattr(what, "__name__", repr(what))
    return Selection(model, tuple(kept), said)


def _candidates(model: Model, what: What) -> Iterator[Place]:
    every = places(model.term)
    match what:
        case None:
            yield from every
        case Model():
            for place in every:
                yield from _occurrences(place, what.term)
        case str() if "->" in what:
            wanted = [_side(text) for text in what.split("->", 1)]
            for place in every:
                part = get(model, place)
                if _fits(wanted, (part.input, part.output)):
                    yield place
        case str():
            yield from (p for p in every if _matches(what.split("/") if what else [], p))
        case type():
            yield from (p for p in every if isinstance(p.term, Lift) and _of(p.term, what))
        case _ if callable(what):
            yield from (p for p in every if isinstance(p.term, Lift) and _is(p.term, what))
        case [*paths] if paths and all(isinstance(path, str) for path in paths):
            yield from (
                p for p in every if any(_matches(t.split("/") if t else [], p) for t in paths)
            )
        case _:
            raise errors.SpecError(errors.BAD_SELECTION.format(what=what))


def _matches(pattern: list[str], place: Place) -> bool:
    return glob(pattern, list(place.path)) and (bool(place.path) or not place.way)


def glob(pattern: list[str], path: list[str]) -> bool:
    """Whether a path is one that a pattern says: ``*`` in a step, ``**`` for any steps."""
    match pattern, path:
        case [], []:
            return True
        case ["**", *rest], _:
            return glob(rest, path) or (bool(path) and glob(pattern, path[1:]))
        case [step, *rest], [name, *below]:
            return fnmatch.fnmatchcase(name, step) and glob(rest, below)
    return False


def _occurrences(place: Place, wanted: Term) -> Iterator[Place]:
    """The place, or the runs of a composition, where a term stands; names do not count."""
    if place.term == wanted or (isinstance(place.term, Named) and place.term.term == wanted):
        yield place
    elif isinstance(place.term, Compose) and isinstance(wanted, Compose) and wanted.parts:
        parts, count, i = place.term.parts, len(wanted.parts), 0
        below = [p for p in places(place.term) if len(p.way) == 1]
        while i + count <= len(parts):
            if parts[i : i + count] == wanted.parts:
                path = (*place.path, *below[i].path)
                yield Place(path, (*place.way, i), wanted, count, False)
                i += count
            else:
                i += 1


def _side(text: str) -> types.Type | None:
    return None if text.strip() == "?" else types.typeof(text.strip())


def _fits(wanted: Sequence[types.Type | None], given: Sequence[types.Type | None]) -> bool:
    """Whether types are those asked for, whatever their dimensions are called."""
    if any(w is not None and g is None for w, g in zip(wanted, given, strict=True)):
        return False
    pairs = [(w, g) for w, g in zip(wanted, given, strict=True) if w is not None and g is not None]
    left, right = tuple(w for w, _ in pairs), tuple(g for _, g in pairs)
    return types.canonical(left) == types.canonical(right)


def _key(term: Lift) -> tuple[Any, ...]:
    """What a function was lifted from; captured arrays that became weights do not count."""
    key: Any = term.function.key
    while isinstance(key, tuple) and key and key[0] == "captured":
        key = key[1]
    return key if isinstance(key, tuple) else (key,)


def _is(term: Lift, function: Callable[..., Any]) -> bool:
    match _key(term):
        case ["python", lifted, *_]:
            return lifted == function
    return False


def _of(term: Lift, kind: type) -> bool:
    match _key(term):
        case ["linen", key]:
            return isinstance(key.module, kind)
        case ["nnx", graph]:
            return issubclass(graph.nodes[0].type, kind)
    return False


def overlapping(places: Sequence[Place]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The paths of two places that are one inside of another, if there are such."""
    clashes = ((a.path, b.path) for a, b in combinations(places, 2) if _overlap(a, b))
    return next(clashes, None)


def _overlap(a: Place, b: Place) -> bool:
    """Whether one place is inside of another, or two runs share a part."""
    if len(a.way) > len(b.way):
        a, b = b, a
    if not a.way:
        return True
    last = len(a.way) - 1
    if a.way[:last] != b.way[:last]:
        return False
    end = b.size if len(b.way) == len(a.way) else 1
    return a.way[last] < b.way[last] + end and b.way[last] < a.way[last] + a.size


def _called(place: Place, new: Model) -> Model:
    """The part under the name of what it replaces."""
    name = called(place.term)
    fits = not isinstance(new.term, Compose) and called(new.term) == name
    if not place.listed or fits:
        return new
    return new.derive(Named(name, new.term), new.environment)
