"""Steps: applications one after another, and a result, as a term.

This is how a lambda term becomes a term without variables. The values that are still needed are
threaded through the composition: alone where there is one, and by name in a dict where there are
several::

    h = f(x)                  f >> branch(g, k)
    return g(h), k(h)

A value that is used once stands where it is used; one that is used again is computed once, in a
step of its own. So the term is as long as the steps are, times the values that wait at one time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lamda.term import IDENTITY, Branch, Pick, Term, called, sequence

INPUT = -1


@dataclass(frozen=True, slots=True)
class At:
    """What step ``step`` gives, or what is picked from it; step -1 is the input."""

    step: int
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that depends on nothing: a term that takes any input."""

    term: Term


Tree: TypeAlias = At | Constant | tuple["Tree", ...] | dict[str, "Tree"]


@dataclass(frozen=True, slots=True)
class Step:
    """A term, applied."""

    term: Term
    argument: Tree


def reads(tree: Tree) -> Iterator[At]:
    """Every place where a tree reads a step or the input."""
    if isinstance(tree, At):
        yield tree
    elif isinstance(tree, tuple | dict):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from reads(part)


def build(steps: Sequence[Step], result: Tree) -> Term:
    """The term of ``result``, where every step that it needs is applied once."""
    readers = _readers(steps, result)
    bound = _bound(readers)
    last = _last(readers, bound, len(steps))
    names = _names(steps, bound)
    known: dict[int, Term] = {INPUT: IDENTITY}
    parts: list[Term] = []
    for number in bound:
        value = sequence(_term(steps[number].argument, steps, known), steps[number].term)
        waiting = [n for n in known if last.get(n, INPUT) > number]
        if waiting:
            values = (*(known[n] for n in waiting), value)
            parts.append(Branch(values, tuple(names[n] for n in (*waiting, number))))
            known = {n: Pick(names[n]) for n in (*waiting, number)}
        else:
            parts.append(value)
            known = {number: IDENTITY}
    return sequence(*parts, _term(result, steps, known))


def _readers(steps: Sequence[Step], result: Tree) -> dict[int, list[int]]:
    """Who reads each step that the result needs, in the order of the steps."""
    readers: dict[int, list[int]] = {}
    for number in reversed(range(len(steps) + 1)):
        if number == len(steps) or number in readers:
            for at in reads(result if number == len(steps) else steps[number].argument):
                readers.setdefault(at.step, []).append(number)
    return dict(sorted(readers.items()))


def _bound(readers: Mapping[int, Sequence[int]]) -> list[int]:
    """The steps that are not put where they are used.

    Those are used more than once; or when they are done, nothing before them is needed.
    """
    bound, needed = [], INPUT
    for number, uses in readers.items():
        if number != INPUT and (len(uses) > 1 or needed <= number):
            bound.append(number)
        needed = max(needed, *uses)
    return bound


def _last(readers: dict[int, list[int]], bound: Sequence[int], end: int) -> Mapping[int, int]:
    """The step in which each is needed last, where the unbound ones run with their reader."""
    place = {number: number for number in (*bound, end)}
    last: dict[int, int] = {}
    for number in reversed(readers):
        last[number] = max(place[reader] for reader in readers[number])
        place.setdefault(number, last[number])
    return last


def _names(steps: Sequence[Step], bound: Sequence[int]) -> Mapping[int, str]:
    """Names for values that wait: of the part that gives them, made distinct."""
    names, seen = {INPUT: "input"}, {"input": 0}
    for number in bound:
        name = called(steps[number].term)
        count = seen[name] = seen.get(name, -1) + 1
        names[number] = f"{name}_{count}" if count else name
    return names


def _term(tree: Tree, steps: Sequence[Step], known: Mapping[int, Term]) -> Term:
    """The term that gives a tree, where ``known`` are the terms of what waits."""
    after: list[Term] = []
    while isinstance(tree, At):
        after += map(Pick, reversed(tree.path))
        if tree.step in known:
            return sequence(known[tree.step], *reversed(after))
        after.append(steps[tree.step].term)
        tree = steps[tree.step].argument
    return sequence(_tree(tree, steps, known), *reversed(after))


def _tree(tree: Tree, steps: Sequence[Step], known: Mapping[int, Term]) -> Term:
    if isinstance(tree, Constant):
        return tree.term
    if isinstance(tree, dict):
        return Branch(tuple(_term(t, steps, known) for t in tree.values()), tuple(tree))
    assert isinstance(tree, tuple)
    return Branch(tuple(_term(t, steps, known) for t in tree))
