"""Type checking: what a term gives for an input, found without computing anything.

Types flow forward through a term. Where a part declares its input, the two are unified, and what
that says of the dimensions flows back to the input: ``float32[b, 16]`` into a part for
``float32[8, 16]`` makes ``b`` 8 everywhere.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lamda import dims, errors, types
from lamda.dims import Dim
from lamda.kind import Kind
from lamda.term import Branch, Compose, Control, Lift, Named, Pick, Term
from lamda.types import Type
from lamda.unify import Unifier

Weights = Callable[[Lift, Type], Type]


@dataclass(frozen=True, slots=True)
class Place:
    """A part as an error names it."""

    part: Term | str
    where: str

    @property
    def name(self) -> str:
        """What it is called; written only where it is asked for, as terms may be large."""
        return str(self.part)


INPUT = Place("the input", "")


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a term gives, and what was learned of the named dimensions of its input."""

    output: Type
    sizes: Mapping[str, Dim] = field(default_factory=dict)


def infer(term: Term, input: Type, weights: Weights, giver: Place = INPUT) -> Inferred:
    """The output type of a term for an input type. Raises MismatchError where parts do not fit."""
    return _Inference(weights).of(term, input, giver)


class _Inference:
    """One inference: a part that is one object in several places is looked at once for a type."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.found: dict[Hashable, Inferred] = {}

    def of(self, term: Term, input: Type, giver: Place) -> Inferred:
        at = id(term), types.plain(input)
        if at not in self.found:
            self.found[at] = self.new(term, input, giver)
        return self.found[at]

    def new(self, term: Term, input: Type, giver: Place) -> Inferred:
        match term:
            case Lift():
                return _lift(term, input, self.weights, giver)
            case Compose(parts):
                return self.compose(parts, input, giver)
            case Branch(parts, names):
                outputs, sizes = self.beside(parts, input, giver, lambda given, _: given)
                tree = tuple(outputs) if names is None else dict(zip(names, outputs, strict=True))
                return Inferred(tree, sizes)
            case Pick(key):
                return Inferred(_pick(key, input, giver))
            case Named(_, inner):
                return self.of(inner, input, giver)
            case Control(kind, bodies):
                return self.control(kind, bodies, input, giver)

    def compose(self, parts: tuple[Term, ...], input: Type, giver: Place) -> Inferred:
        output, sizes = input, {}
        for part in parts:
            step = self.of(part, output, giver)
            output, sizes = step.output, _then(sizes, step.sizes, input)
            giver = place(part, giver.where)
        return Inferred(output, sizes)

    def control(self, kind: Kind, bodies: tuple[Term, ...], input: Type, giver: Place) -> Inferred:
        def taken(given: Type, number: int) -> Type:
            with _made_by([(giver, given)]):
                return kind.inputs(given, len(bodies))[number]

        outputs, sizes = self.beside(bodies, input, giver, taken)
        inside = [place(body, giver.where) for body in bodies]
        with _made_by(list(zip(inside, outputs, strict=True))):
            return Inferred(kind.output(types.substitute(input, sizes), outputs), sizes)

    def beside(
        self,
        parts: tuple[Term, ...],
        input: Type,
        giver: Place,
        taken: Callable[[Type, int], Type],
    ) -> tuple[list[Type], dict[str, Dim]]:
        """What parts of one input give: each is ``taken(input, number)``."""
        sizes: dict[str, Dim] = {}
        outputs: list[Type] = []
        for number, part in enumerate(parts):
            given = taken(types.substitute(input, sizes), number)
            step = self.of(part, given, giver)
            outputs = [types.substitute(o, step.sizes) for o in outputs] + [step.output]
            sizes = _then(sizes, step.sizes, input)
        return outputs, sizes


def place(term: Term, where: str) -> Place:
    """The part that speaks for a term in an error: the last one that gives its output."""
    if isinstance(term, Compose) and term.parts:
        return place(term.parts[-1], where)
    return Place(term, term.function.where if isinstance(term, Lift) else where)


def first(term: Term, where: str) -> Place:
    """The part that reads the input of a term."""
    if isinstance(term, Compose) and term.parts:
        return first(term.parts[0], where)
    return place(term, where)


def declared(term: Term) -> Type | None:
    """The input type that a term declares, or ``None`` where its first parts take what comes."""
    found: dict[int, Type | None] = {}

    def of(term: Term) -> Type | None:
        if id(term) not in found:  # what is one object in several places is looked at once
            found[id(term)] = new(term)
        return found[id(term)]

    def new(term: Term) -> Type | None:
        match term:
            case Lift(function, _):
                return function.input
            case Compose(parts) if parts:
                return of(parts[0])
            case Named(_, inner):
                return of(inner)
            case Control(kind, bodies):
                return kind.declared([of(body) for body in bodies])
            case Branch(parts, _):
                return _common([(p, t) for p in parts if (t := of(p)) is not None])
            case _:
                return None

    return of(term)


def _common(known: Sequence[tuple[Term, Type]]) -> Type | None:
    """The one input type that parts declare."""
    if not known:
        return None
    (term, common), *rest = known
    for part, type in rest:
        common = branch_input((first(term, ""), common), (first(part, ""), type))
    return common


def branch_input(left: tuple[Place, Type], right: tuple[Place, Type]) -> Type:
    """The one input type of two parts that read the same input."""
    unifier = Unifier()
    if not unifier.unify(left[1], right[1]):
        raise mismatch(errors.BRANCH_MISMATCH, unifier, left, right)
    return unifier.left(left[1])


def mismatch(
    message: str, unifier: Unifier, left: tuple[Place, Type], right: tuple[Place, Type]
) -> errors.MismatchError:
    """The error for two types that do not agree."""
    return errors.MismatchError(
        message.format(
            left=left[0].name,
            left_at=left[0].where,
            right=right[0].name,
            right_at=right[0].where,
            given=types.show(left[1]),
            wanted=types.show(right[1]),
            axes="\n".join(unifier.differences),
        )
    )


def agree(given: tuple[Place, Type], wanted: tuple[Place, Type]) -> Unifier:
    """The unifier of what one part gives and the next takes. Raises MismatchError."""
    unifier = Unifier()
    if not unifier.unify(given[1], wanted[1]):
        if given[0] is INPUT:
            text = errors.INPUT_MISMATCH.format(
                name=wanted[0].name,
                wanted=types.show(wanted[1]),
                given=types.show(given[1]),
                axes="\n".join(unifier.differences),
            )
            raise errors.MismatchError(text)
        raise mismatch(errors.MISMATCH, unifier, given, wanted)
    return unifier


@contextmanager
def _made_by(givers: Sequence[tuple[Place, Type]]) -> Iterator[None]:
    """Says of a mismatch what gave the types, and where that was made."""
    try:
        yield
    except errors.MismatchError as error:
        lines = [
            errors.GIVEN_BY.format(name=giver.name, given=types.show(type), at=giver.where)
            for giver, type in givers
            if giver.where
        ]
        raise errors.MismatchError("\n".join([str(error), *lines])) from error.__cause__


def _lift(lift: Lift, input: Type, weights: Weights, giver: Place) -> Inferred:
    function = lift.function
    if function.input is None:
        with _made_by([(giver, input)]):
            return Inferred(function.output(weights(lift, input), input))
    wanted = function.input
    unifier = agree((giver, input), (Place(function.name, function.where), wanted))
    output = unifier.right(function.output(weights(lift, wanted), wanted))
    return Inferred(output, unifier.sizes(input))


def _then(sizes: Mapping[str, Dim], more: Mapping[str, Dim], input: Type) -> dict[str, Dim]:
    """What two steps say together of the names of ``input``."""
    return {
        name: dim
        for name in types.names(input)
        if (dim := dims.replace(dims.replace(name, sizes), more)) != name
    }


def _pick(key: str | int, type: Type, giver: Place) -> Type:
    if isinstance(type, Mapping) and key in type:
        return type[key]  # type: ignore[index]
    if isinstance(type, tuple) and isinstance(key, int) and -len(type) <= key < len(type):
        return type[key]
    with _made_by([(giver, type)]):
        raise _no_pick(key, type, giver)


def _no_pick(key: str | int, type: Type, giver: Place) -> errors.MismatchError:
    if isinstance(type, types.ArrayType):
        text = errors.NOT_A_TREE.format(name=giver.name, type=types.show(type))
        return errors.MismatchError(text)
    keys = list(type) if isinstance(type, Mapping) else range(len(type))
    choices = ", ".join(map(repr, keys))
    return errors.MismatchError(
        errors.BAD_PATH.format(name=giver.name, type=types.show(type), path=key, choices=choices)
    )
