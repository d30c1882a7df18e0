"""Checking laws: as a test of pytest, and without it."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import UnsatisfiedAssumption
from hypothesis.strategies import DataObject, SearchStrategy, data

from lamda import errors
from lamda.model import Model
from lamda.testing.draw import Draw, Subject
from lamda.testing.law import Law, Suite, collect
from lamda.testing.source import expression
from lamda.testing.suites import default
from lamda.testing.writer import value as written

T = TypeVar("T")


def check_laws(
    subject: Any = None, suites: Iterable[Suite] | None = None, *, examples: int | None = None
) -> Callable[..., None]:
    """A test of pytest for every law of the suites, of a model, a combinator, or all models.

    Bind it in a file of tests, ``test_laws = check_laws(my_combinator)``: it is parametrised by
    laws and given examples by Hypothesis, whose database, seed, statistics and
    ``reproduce_failure`` work as for every other test. How many examples there are is said by the
    profile of Hypothesis in force, or by ``examples=``. No suites stands for all that fit.

    >>> import lamda as lm
    >>> from lamda.testing import check_laws, suites
    >>> test_residual = check_laws(lm.residual, suites=[suites.CATEGORY])
    """
    import pytest

    speaking_of = Subject.of(subject)
    laws = collect(default(speaking_of) if suites is None else suites)

    @pytest.mark.parametrize("law", laws, ids=str)
    @_settings(examples)
    @given(data=data())
    def test_laws(law: Law, data: DataObject) -> None:
        __tracebackhide__ = True
        decide(law, Draw(data, speaking_of))

    return test_laws


def _settings(examples: int | None) -> settings:
    """The profile in force, where an example may take as long as it takes."""
    now = settings()
    return settings(
        deadline=None,
        print_blob=True,
        max_examples=examples or now.max_examples,
        suppress_health_check={*now.suppress_health_check, HealthCheck.too_slow},
    )


def decide(law: Law, draw: Draw) -> None:
    """Decide one example; whatever is raised says which law it was."""
    __tracebackhide__ = True
    try:
        law.check(draw)
    except Exception as error:
        if law.statement not in str(error):
            error.add_note(errors.LAW_WHERE.format(name=law.name, statement=law.statement))
        raise


@dataclass(frozen=True)
class Outcome:
    """What checking one law gave."""

    law: Law
    examples: int
    """How many examples were decided, up to the first that broke the law."""
    seconds: float
    error: Exception | None = None
    """Why the law is broken; None where it holds."""
    drawn: Mapping[str, str] | None = None
    """The smallest example that breaks it: what was drawn, by name, as Python."""

    @property
    def holds(self) -> bool:
        """Whether no example broke the law."""
        return self.error is None

    @property
    def example(self) -> str:
        """The smallest example that breaks the law, as Python."""
        return "\n".join(f"{name} = {text}" for name, text in (self.drawn or {}).items())


class _Noting(Draw):
    """A Draw that keeps what it drew."""

    def __init__(self, data: DataObject, subject: Subject) -> None:
        super().__init__(data, subject)
        self.drawn: dict[str, Any] = {}

    def __call__(self, strategy: SearchStrategy[T], label: str | None = None) -> T:
        value = super().__call__(strategy, label)
        count = len(self.drawn)
        name = (label or "drawn").replace("'", "_")
        self.drawn[name if name not in self.drawn else f"{name}_{count}"] = value
        return value


def run(
    law: Law,
    subject: Any = None,
    examples: int = 100,
    *,
    seed: int | None = None,
    shrink: bool = True,
) -> Outcome:
    """Check one law without pytest; the same seed gives the same examples.

    Without ``shrink`` the example that breaks the law is the first that was found, and not the
    smallest.
    """
    speaking_of = Subject.of(subject)
    last: list[_Noting] = []
    count = 0
    failed = False

    def decided(data: DataObject) -> None:
        nonlocal count, failed
        last[:] = [_Noting(data, speaking_of)]
        try:
            decide(law, last[0])
        except UnsatisfiedAssumption:
            raise
        except Exception:
            count += not failed
            failed = True
            raise
        count += not failed

    asked = settings(
        _settings(examples),
        database=None,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate, Phase.target, *[Phase.shrink] * shrink],
    )
    test = asked(given(data())(decided))
    begun = time.perf_counter()
    try:
        (test if seed is None else seeded(seed)(test))()
    except Exception as error:
        drawn = {name: _python(value) for name, value in last[0].drawn.items()} if last else None
        return Outcome(law, count, time.perf_counter() - begun, error, drawn)
    return Outcome(law, count, time.perf_counter() - begun)


def _python(value: Any) -> str:
    """A drawn value as Python; of what holds no arrays, its repr."""
    if isinstance(value, Model):
        return expression(value)
    leaves = jax.tree.leaves(value)
    arrays = bool(leaves) and all(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves)
    return written(value) if arrays else repr(value)
