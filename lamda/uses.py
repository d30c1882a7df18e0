"""Uses: the type of an input, from what is said of its places."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from lamda import check, types
from lamda.types import Type
from lamda.unify import Unifier


@dataclass(frozen=True, slots=True)
class Use:
    """What is said of one place of an input, and by whom; perhaps only that it is there."""

    path: tuple[str | int, ...]
    type: Type | None = None
    by: check.Place = check.INPUT


def input_type(uses: Sequence[Use]) -> Type | None:
    """The least type that has all these places; ``None`` where that of one of them is not known.

    >>> first, second = Use((0,), types.typeof("float32[b]")), Use((1,), types.typeof("int32[]"))
    >>> types.show(input_type([first, second])), input_type([first, Use((1,))])
    ('(float32[b], int32[])', None)

    Raises MismatchError where two of them do not agree on a place.
    """
    here = [use for use in uses if not use.path]
    whole = [(use.by, use.type) for use in here if use.type is not None]
    parts: dict[str | int, list[Use]] = {}
    for use in uses:
        if use.path:
            key, *rest = use.path
            parts.setdefault(key, []).append(Use(tuple(rest), use.type, use.by))
    if whole:
        return reduce(_narrow, (u for u in uses if u.path), _common(whole))
    members = {key: input_type(below) for key, below in parts.items()}
    if here or not members or any(member is None for member in members.values()):
        return None
    if set(members) == set(range(len(members))):
        return tuple(members[i] for i in range(len(members)))  # type: ignore[misc]
    named = all(isinstance(key, str) for key in members)
    return types.typeof(members) if named else None


def apart(uses: Sequence[Use]) -> list[Use]:
    """The uses, where those of different places share no dimension."""
    renamed: list[Use] = []
    taken: dict[Any, list[str]] = {}
    for use in uses:
        if use.type is None:
            renamed.append(use)
            continue
        others = [n for path, names in taken.items() if path != use.path[:1] for n in names]
        type = types.apart(use.type, others)
        taken.setdefault(use.path[:1], []).extend(types.names(type))
        renamed.append(Use(use.path, type, use.by))
    return renamed


def _common(said: Sequence[tuple[check.Place, Type]]) -> Type:
    by, common = said[0]
    for other in said[1:]:
        common = check.branch_input((by, common), other)
    return common


def _narrow(whole: Type, use: Use) -> Type:
    """The type of the whole, with what is said of a place of it."""
    place: Any = whole
    for key in use.path:
        if isinstance(place, types.ArrayType) or (isinstance(key, str) and key not in place):
            return whole  # what is not there is refused when the term is checked
        place = place[key]
    unifier = Unifier()
    if use.type is not None and not unifier.unify(place, use.type):
        raise check.mismatch(
            check.errors.BRANCH_MISMATCH, unifier, (check.INPUT, place), (use.by, use.type)
        )
    return types.substitute(whole, unifier.sizes(place))
