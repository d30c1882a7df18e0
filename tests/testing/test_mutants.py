"""Tests of the tests: every mutant is killed by the law that is named for it."""

import traceback

import pytest
from laws_page import PAGE, page
from mutants import MUTANTS

from lamda.testing import run


def drawing(error: BaseException) -> bool:
    """Whether the library broke while models were drawn, so that no law was reached."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any("testing/strategies" in file for file in files)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed(mutant, monkeypatch):
    mutant.apply(monkeypatch)
    error: Exception | None = None
    for seed in range(9):
        error = run(mutant.law, examples=100, seed=seed, shrink=False).error
        assert error is not None, f"{mutant.law} holds where {mutant.name}"
        if not drawing(error):
            return
    pytest.fail(f"where {mutant.name}, nothing can be drawn: {error}")


def test_each_has_a_name_of_its_own():
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)


def test_the_page_of_laws_is_as_the_suites_and_the_mutants_are():
    assert PAGE.read_text() == page(), "python tests/testing/laws_page.py --write"
