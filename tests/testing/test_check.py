"""``check_laws`` in a user's file of tests, and ``run`` without pytest."""

import re

import pytest
from sessions import LAWS, session

import lamda as lm
from lamda.testing import Level, Subject, Suite, check_laws, law, models, run
from lamda.testing.suites import CATEGORY, SUITES

double = lm.lift(lambda x: x * 2, input="float32[3]", name="double")

test_category = check_laws(double, suites=[CATEGORY], examples=2)


def ids(test):
    [mark] = test.pytestmark
    return [law.name for law in mark.args[1]]


def test_every_law_is_a_test():
    assert ids(test_category) == [law.name for law in CATEGORY.laws]


def test_without_suites_all_that_fit_are_checked():
    named = ids(check_laws(lm.residual))
    assert {law.name for law in SUITES["combinator"].laws} <= set(named)
    assert named == ids(check_laws(lm.residual))  # workers of xdist agree
    batch = SUITES.get("batch")
    assert batch is None or not {law.name for law in batch.laws} & set(named)


BROKEN = (
    LAWS
    + """
suite = Suite("mine", (right_unit, wrong, ill))
test_laws = check_laws(double, suites=[suite], examples=10)
"""
)


def test_a_broken_law_shows_its_statement_and_an_example(tmp_path):
    returned, out = session(tmp_path, BROKEN, "-v")
    assert returned == 1 and "2 failed, 1 passed" in out
    assert re.search(r"test_laws\[right unit\].* PASSED", out)
    assert re.search(r"test_laws\[wrong\].* FAILED", out)
    assert 'the law "wrong" is broken:\n' in out and "every f is identity\n" in out
    assert 'in the law "ill": f does not compose' in out
    assert re.search(r"Draw 1 \(f\): ", out)
    assert "@reproduce_failure(" in out
    assert "\nlamda: 3 laws, " in out


@law("f = f >> f, wherever it fits", Level.ADDRESS)
def idempotent(draw):
    f = draw.model()
    return (f, f >> f) if f.input == f.output else (f, f)


def test_the_same_seed_gives_the_same_examples():
    subject = Subject.of(models("float32[b, 2]", size=2))
    one, two = (run(idempotent, subject, 50, seed=3) for _ in range(2))
    assert not one.holds
    assert (one.examples, one.example) == (two.examples, two.example)
    assert one.example.startswith("f = ")


def test_examples_are_counted():
    outcome = run(CATEGORY.laws[0], Subject.of(models("float32[b, 2]", size=2)), 5, seed=0)
    assert outcome.holds and outcome.examples == 5 and outcome.seconds > 0
    assert run(idempotent, Subject.of(double), 5).examples == 1


def test_an_error_of_the_language_is_a_broken_law():
    @law("f does not compose", Level.ADDRESS)
    def ill(draw):
        return draw.model() >> lm.pick(0), None

    outcome = run(ill, Subject.of(double), 5)
    assert isinstance(outcome.error, lm.LamdaError)
    assert 'in the law "ill": f does not compose' in outcome.error.__notes__


def test_what_is_no_subject_is_refused():
    with pytest.raises(lm.SpecError, match="and not of 'encoder'"):
        check_laws("encoder", suites=[Suite("none", ())])
