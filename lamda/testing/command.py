"""The command ``lamda check``: find what is to be checked, check it, and print a table."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from lamda import errors
from lamda.model import Model
from lamda.testing.check import Outcome, run
from lamda.testing.draw import Subject
from lamda.testing.law import Law, Suite
from lamda.testing.level import Tier
from lamda.testing.suites import SUITES, default

HEAD = ("suite", "law", "level", "tier", "examples", "seconds", "")


@dataclass(frozen=True)
class Row:
    """One law, as the table shows it."""

    suite: str
    law: Law
    outcome: Outcome

    @property
    def cells(self) -> tuple[str, ...]:
        """What stands in its columns."""
        law, outcome = self.law, self.outcome
        return (
            self.suite, law.name, law.level.value, law.tier.value, str(outcome.examples),
            f"{outcome.seconds:.2f}", "holds" if outcome.holds else "BROKEN",
        )  # fmt: skip

    @property
    def json(self) -> dict[str, Any]:
        """What ``--json`` writes of it."""
        law, outcome = self.law, self.outcome
        return {
            "suite": self.suite, "law": law.name, "statement": law.statement,
            "level": law.level.value, "tier": law.tier.value, "examples": outcome.examples,
            "seconds": round(outcome.seconds, 3), "holds": outcome.holds,
            "error": None if outcome.error is None else reason(outcome), "example": outcome.drawn,
        }  # fmt: skip


def find(what: str, store: str) -> Any:
    """What is to be checked: MODULE:NAME, or the model of a ref or address in a store."""
    module, colon, name = what.partition(":")
    if colon and module != "sha256":
        return _imported(what, module, name)
    from lamda.store import Store

    return Store.open(store).get(what)


def _imported(what: str, module: str, name: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        value: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Only where it is this module that is missing, and not one that it imports.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise errors.MissingError(errors.CHECK_MODULE.format(what=what, module=module)) from None
    except (ValueError, TypeError):
        raise errors.SpecError(errors.CHECK_MODULE.format(what=what, module=module)) from None
    for part in name.split("."):
        if not hasattr(value, part):
            raise errors.MissingError(
                errors.CHECK_NAME.format(
                    module=module, name=name, choices=", ".join(_models(value)) or "none"
                )
            )
        value = getattr(value, part)
    return value


def _models(module: Any) -> list[str]:
    """The names in a module that can be checked for certain."""
    return [
        n
        for n, v in getattr(module, "__dict__", {}).items()
        if isinstance(v, Model | SearchStrategy)
    ]


def choose(value: Any, names: Sequence[str]) -> tuple[Subject, list[Suite]]:
    """What laws are checked of, and the suites of these names; of none, those that fit."""
    subject = Subject.of(value)
    for name in names:
        if name not in SUITES:
            known = ", ".join(SUITES)
            raise errors.MissingError(errors.CHECK_SUITE.format(given=name, known=known))
    return subject, [SUITES[name] for name in names] or default(subject)


def placed(suites: Sequence[Suite]) -> dict[Law, str]:
    """Every law of the suites and of their parents, with the suite it stands in."""
    found: dict[Law, str] = {}
    for suite in suites:
        found |= {law: at for law, at in placed(suite.parents).items() if law not in found}
        found |= {law: suite.name for law in suite.laws if law not in found}
    return found


def check(chosen: argparse.Namespace) -> int:
    """Check the laws that were chosen, print what came of it; 1 if one is broken."""
    laws, tier = placed(chosen.suites), Tier(chosen.tier)
    wanted = {law: suite for law, suite in laws.items() if law.tier.within(tier)}
    widths = [max(map(len, column)) for column in zip(*_names(wanted), strict=True)]
    rows: list[Row] = []
    if not chosen.json:
        _print(HEAD, widths)
    for row in _rows(wanted, chosen):
        rows.append(row)
        if not chosen.json:
            _print(row.cells, widths)
    broken = [row for row in rows if not row.outcome.holds]
    if chosen.json:
        print(json.dumps([row.json for row in rows], indent=2))
    else:
        print(
            *map(_told, broken),
            _total(rows, broken, [law for law in laws if law not in wanted], tier),
            sep="\n",
        )
    return 1 if broken else 0


def _rows(laws: dict[Law, str], chosen: argparse.Namespace) -> Iterator[Row]:
    for law, suite in laws.items():
        yield Row(suite, law, run(law, chosen.subject, chosen.examples, seed=chosen.seed))


def _names(laws: dict[Law, str]) -> list[tuple[str, ...]]:
    """The cells that are known before a law is checked, to align the columns by."""
    known = [
        (suite, law.name, law.level.value, law.tier.value, "", "", "")
        for law, suite in laws.items()
    ]
    return [HEAD, *known]


def _print(cells: Sequence[str], widths: Sequence[int]) -> None:
    left = [f"{c:<{w}}" for c, w in zip(cells[:4], widths[:4], strict=True)]
    right = [f"{c:>{w}}" for c, w in zip(cells[4:6], widths[4:6], strict=True)]
    print("  ".join([*left, *right, cells[6]]).rstrip(), flush=True)


def reason(outcome: Outcome) -> str:
    """Why a law is broken; its statement stands in it."""
    error, law = outcome.error, outcome.law
    if law.statement in str(error):
        return str(error)
    where = errors.LAW_WHERE.format(name=law.name, statement=law.statement)
    return f"{where}\n{type(error).__name__}: {error}"


def _told(row: Row) -> str:
    example = row.outcome.example
    lines = [f"  {line}" for line in example.splitlines()]
    return "\n".join(
        ["", reason(row.outcome), *(["The smallest example:"] if lines else []), *lines]
    )


def _total(rows: Sequence[Row], broken: Sequence[Row], above: Sequence[Law], tier: Tier) -> str:
    text = f"\n{len(rows) - len(broken)} of {len(rows)} laws hold"
    if not above:
        return text
    most = next(t for t in Tier if all(law.tier.within(t) for law in above))
    return (
        f"{text}; {len(above)} that take more than {tier.value} were not checked: "
        f"--tier {most.value}"
    )
