"""Laws as values, and suites with parents."""

import pytest
from hypothesis import strategies as st

import lamda as lm
from lamda import errors
from lamda.testing import Level, Subject, Suite, Tier, broken, collect, law, run
from lamda.testing.suites import SUITES

double = lm.lift(lambda x: x * 2, input="float32[3]", name="double")


@law("f = f", Level.ADDRESS)
def it_is_itself(draw):
    f = draw.model()
    return f, f


@law("f(x) = f(x)", Level.VALUE)
def its_value_is_itself(draw):
    f = draw.model()
    return f, f


@law("f is not double", Level.TERM)
def it_is_not_double(draw):
    if str(draw.model()) == "double":
        raise broken("it is double")


@law("f = f >> double", Level.ADDRESS, Tier.XLA)
def it_is_twice_itself(draw):
    f = draw.model()
    return f, f >> double


def test_a_law_has_the_name_of_its_function():
    assert str(it_is_itself) == it_is_itself.name == "it is itself"
    assert it_is_itself.statement == "f = f"


def test_the_tier_is_what_the_level_takes():
    assert it_is_itself.tier is Tier.ABSTRACT
    assert its_value_is_itself.tier is Tier.NUMPY
    assert it_is_twice_itself.tier is Tier.XLA


def test_a_law_that_holds():
    for each in (it_is_itself, its_value_is_itself):
        outcome = run(each, Subject.of(double), 5, seed=0)
        assert outcome.holds and outcome.error is None and outcome.example == ""


def test_a_law_that_is_broken():
    outcome = run(it_is_twice_itself, Subject.of(double), 5, seed=0)
    assert not outcome.holds
    assert isinstance(outcome.error, errors.LawError) and isinstance(outcome.error, AssertionError)
    assert str(outcome.error) == (
        'the law "it is twice itself" is broken:\n'
        "  f = f >> double\n"
        "at the level of address. One side is\n"
        f"  {double.address}\nand the other\n  {(double >> double).address}"
    )


def test_a_law_that_decides_itself():
    outcome = run(it_is_not_double, Subject.of(double), 5, seed=0)
    assert str(outcome.error) == "it is double"
    assert outcome.error is not None
    assert 'in the law "it is not double": f is not double' in outcome.error.__notes__


def test_laws_of_parents_come_first_and_once():
    one = Suite("one", (it_is_itself,))
    two = Suite("two", (its_value_is_itself,), (one,))
    three = Suite("three", (it_is_itself, it_is_not_double), (one, two))
    assert two.all() == [it_is_itself, its_value_is_itself]
    assert three.all() == [it_is_itself, its_value_is_itself, it_is_not_double]
    assert collect([three, one, two]) == three.all()


def test_suites_have_names_and_laws_have_names_of_their_own():
    assert all(name == suite.name for name, suite in SUITES.items())
    laws = collect(SUITES.values())
    assert len(laws) >= 100
    for suite in SUITES.values():
        assert len({law.name for law in suite.laws}) == len(suite.laws)
    assert all(law.statement and law.name for law in laws)


def test_what_laws_are_checked_of():
    assert Subject.of(double).combinator is None
    assert Subject.of(lm.residual).combinator is lm.residual
    models = st.just(double)
    assert Subject.of(models).models is models
    with pytest.raises(lm.SpecError) as error:
        Subject.of(3)
    assert str(error.value) == (
        "laws are checked of a model, a combinator, or a strategy of models, and not of 3"
    )
