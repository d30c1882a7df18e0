"""Taps: intermediate values as extra outputs."""

from collections.abc import Iterator
from typing import TypeAlias

from lamda import errors
from lamda.combinators.typed import typed
from lamda.model import Model, models
from lamda.term import Branch, Compose, Named, Term, distinct, sequence


def tap(model: Model, *paths: str) -> Model:
    """``tap(f >> g, "f")(x)`` is ``(g(f(x)), {"f": f(x)})``.

    A path is written as those of ``model.weights``, with slashes: ``"encoder"``,
    ``"branch/a/head"``. It is ``branch(model, branch(**{path: the parts up to there}))``, and what
    is shared runs once, so a tap computes nothing more.

    >>> import jax.numpy as jnp, lamda as lm
    >>> model = lm.lift(jnp.sin, input="float32[]") >> lm.lift(jnp.cos)
    >>> len(tap(model, "sin").program.nodes), list(tap(model, "sin").output[1])
    (2, ['sin'])

    Laws: ``tap(f, *paths) >> pick(0)`` is ``f``; ``tap(f)`` is ``branch(f, const({}))``.

    Raises MissingError for a path that is not there, with those that are. The inside of a control
    (scan, vmap, ...) has no one value, and no path.
    """
    models("tap", [model])
    found = [_prefix(model.term, tuple(path.split("/")), model, path) for path in paths]
    term = Branch((model.term, Branch(tuple(found), paths)))
    return typed(term, [model], model.input)


def _prefix(term: Term, path: tuple[str, ...], model: Model, asked: str) -> Term:
    """What is computed at a path: a term of the input of ``term``."""
    if not path:
        return term
    match term:
        case Named(_, inner):
            return _prefix(inner, path, model, asked)
        case Compose() | Branch():
            for name, before, part in _children(term):
                if name == path[0]:
                    return sequence(*before, _prefix(part, path[1:], model, asked))
    choices = ", ".join(map(repr, _paths(model.term))) or "none"
    raise errors.MissingError(errors.NO_TAP.format(name=model, path=asked, choices=choices))


_Child: TypeAlias = tuple[str, tuple[Term, ...], Term]


def _children(term: Term) -> Iterator[_Child]:
    """The parts of a term by name, each with the parts that run before it."""
    match term:
        case Compose(parts):
            for place, name in enumerate(distinct(parts)):
                yield from _child(name, parts[:place], parts[place])
        case Branch(parts, names):
            keys = names or tuple(map(str, range(len(parts))))
            for name, part in zip(keys, parts, strict=True):
                yield from _child(name, (), part)
        case Named(_, inner):
            yield from _children(inner)


def _child(name: str, before: tuple[Term, ...], part: Term) -> Iterator[_Child]:
    """The part itself, or its own children where it is named "", which takes no place in a path."""
    if isinstance(part, Named) and not part.name:
        for inner, inside, child in _children(part.term):
            yield inner, (*before, *inside), child
    else:
        yield name, before, part


def _paths(term: Term, start: str = "") -> Iterator[str]:
    for name, _, part in _children(term):
        yield f"{start}{name}"
        yield from _paths(part, f"{start}{name}/")
