"""Laws as values: a statement, the level at which it holds, and how to decide it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamda import errors
from lamda.model import Model
from lamda.testing.level import Level, Tier, same

if TYPE_CHECKING:
    from lamda.testing.draw import Draw

Decide = Callable[["Draw"], tuple[Any, Any] | None]


@dataclass(frozen=True)
class Law:
    """What holds for all models of a subject.

    ``decide(draw)`` draws what the law speaks of and gives its two sides, which must be equal at
    ``level``; or it gives nothing, and raises :class:`~lamda.errors.LawError` itself where the law
    is broken.
    """

    name: str
    statement: str
    level: Level
    tier: Tier
    decide: Decide

    def check(self, draw: "Draw") -> None:
        """Decide one example. Raises LawError where the law is broken."""
        sides = self.decide(draw)
        if sides is None:
            return
        left, right = sides
        at_value = self.level is Level.VALUE and isinstance(left, Model)
        why = same(self.level, left, right, draw.input(left) if at_value else None)
        self.require(not why, why)

    def require(self, holds: bool, why: str) -> None:
        """Raises LawError, with the reason, unless something holds."""
        if not holds:
            raise errors.LawError(
                errors.LAW_BROKEN.format(
                    name=self.name, statement=self.statement, level=self.level.value, why=why
                )
            )

    def __str__(self) -> str:
        return self.name


def law(statement: str, level: Level, tier: Tier | None = None) -> Callable[[Decide], Law]:
    """Make a law of the function that decides it; its name is the function's.

    What the level takes is the tier, where none is given.

    >>> from lamda.testing import Level, law
    >>> @law("f >> identity = f", Level.ADDRESS)
    ... def identity_after(draw):
    ...     f = draw.model()
    ...     return f >> lm.identity, f
    >>> identity_after.name, identity_after.tier.value
    ('identity after', 'abstract')
    """
    least = Tier.NUMPY if level is Level.VALUE else Tier.ABSTRACT

    def make(decide: Decide) -> Law:
        name = decide.__name__.replace("_", " ")
        return Law(name, statement, level, tier or least, decide)

    return make


@dataclass(frozen=True)
class Suite:
    """Laws that belong together; what has them has those of its parents."""

    name: str
    laws: tuple[Law, ...]
    parents: tuple["Suite", ...] = ()

    def all(self) -> list[Law]:
        """Its laws, after those of its parents; each once."""
        return collect([self])


def collect(suites: Iterable[Suite]) -> list[Law]:
    """The laws of several suites and of their parents, each once, parents first."""
    found: dict[Law, None] = {}
    for suite in suites:
        found.update(dict.fromkeys(collect(suite.parents)))
        found.update(dict.fromkeys(suite.laws))
    return list(found)


def broken(why: str) -> errors.LawError:
    """The error for a law that decides itself: ``raise broken("f has changed")``."""
    return errors.LawError(why)
