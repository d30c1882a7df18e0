"""The laws of the calculus hold, and their strategies make what they say."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutants_calculus import MUTANTS
from parts import dense

import lamda as lm
from lamda import errors, types
from lamda.testing.draw import Draw, Subject
from lamda.testing.law import Law, collect
from lamda.testing.operands import Operands
from lamda.testing.strategies.ill import ill_typed, mistaken
from lamda.testing.strategies.spellings import regroupings
from lamda.testing.suites.cartesian import CARTESIAN
from lamda.testing.suites.category import CATEGORY
from lamda.testing.suites.closed import CLOSED
from lamda.testing.suites.combinator import COMBINATOR
from lamda.testing.suites.control import CONTROL
from lamda.testing.suites.typing import TYPING
from lamda.unify import Unifier

LAWS = collect([CLOSED, CONTROL, TYPING, COMBINATOR])
f, g, h = dense(4, 4, 0, "f"), dense(4, 4, 1, "g"), dense(4, 4, 2, "h")
MODEL = f >> lm.branch(a=lm.residual(g), b=h >> g) >> lm.pick("a")
quick = settings(
    max_examples=5, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def check(law: Law, subject: object = None, profile: settings = quick) -> None:
    """A law at some examples of a subject."""

    @profile
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        law.check(Draw(data, Subject.of(subject)))

    holds()


def test_suites_have_their_parents_laws_once():
    assert CLOSED.all() == [*CATEGORY.laws, *CARTESIAN.laws, *CLOSED.laws]
    assert collect([CLOSED, CATEGORY, CARTESIAN]) == CLOSED.all()
    assert len({law.name for law in LAWS}) == len(LAWS)


def test_every_bug_has_a_law_of_these_suites():
    assert {mutant.law for mutant in MUTANTS} <= set(LAWS)


# --- combinators that break laws ---


def counting():
    count = 0

    def counted(model):
        nonlocal count
        count += 1
        return model & lm.const(count)

    return counted


def by_length(model):
    return model & lm.const(len(model.name))


def remembering():
    known = {}
    return lambda model: known.setdefault(model.name, lm.residual(model))


BAD = {
    "a combinator reads no names": (remembering(), "sha256"),
    "a combinator is a function": (counting(), "sha256"),
    "a combinator respects equality": (by_length, "sha256"),
}


def test_a_combinator_may_lift_a_function_each_time():
    def doubled(model):
        return model >> lm.lift(lambda x: jax.tree.map(lambda leaf: leaf + leaf, x))

    for law in COMBINATOR.laws:
        check(law, doubled)


@pytest.mark.parametrize("name", BAD)
def test_a_combinator_that_breaks_a_law_is_found(name):
    combinator, text = BAD[name]
    (law,) = [law for law in COMBINATOR.laws if law.name == name]
    profile = settings(quick, max_examples=60, phases=[Phase.generate])
    with pytest.raises(errors.LawError, match=text):
        check(law, combinator, profile)


def test_operands_that_change_are_found():
    model = f >> g
    kept = Operands(model)
    kept.require_kept(model >> h)
    with pytest.raises(lm.errors.LawError, match="what was made is operand 0 itself: f >> g"):
        kept.require_kept(model)
    object.__setattr__(model, "term", (f >> h).term)
    object.__setattr__(model, "environment", (f >> h).environment)
    with pytest.raises(lm.errors.LawError, match="operand 0 has changed: its name was\n  f >> g"):
        kept.require_kept()


# --- strategies ---


@settings(quick, max_examples=30)
@given(st.data())
def test_a_mistake_does_not_unify_and_says_why(data):
    type = data.draw(st.sampled_from([m.input for m in (f, f @ g, lm.parallel(a=f, b=f & g))]))
    wrong = data.draw(mistaken(type or types.typeof("float32[3]")))
    unifier = Unifier()
    assert not unifier.unify(type, wrong.given)
    assert unifier.differences == [wrong.difference]


@settings(quick, max_examples=20)
@given(ill_typed())
def test_a_mistake_is_refused(ill):
    with pytest.raises(ill.error) as error:
        ill.make()
    assert all(text in str(error.value) for text in ill.texts)


@settings(quick, max_examples=25)
@given(regroupings(MODEL))
def test_a_spelling_has_the_address(model):
    assert model.address == MODEL.address
    assert (model.input, model.output) == (MODEL.input, MODEL.output)


@settings(quick, max_examples=10)
@given(regroupings(MODEL, only_brackets=True))
def test_brackets_keep_the_term_and_the_names_of_weights(model):
    assert model.term == MODEL.term
    assert list(model.weights) == list(MODEL.weights)


def test_spellings_differ():
    terms = set()

    @settings(quick, max_examples=40)
    @given(regroupings(MODEL))
    def collected(model):
        terms.add(str(model.term))

    collected()
    assert len(terms) > 10


def test_spellings_of_what_is_shared_have_its_address():
    tower = f
    for _ in range(5):
        tower = lm.add(tower, tower)

    @settings(quick, max_examples=3)
    @given(regroupings(tower))
    def small(model):
        assert model.address == tower.address

    small()


def test_the_value_of_a_spelling_is_that_of_the_model():
    from lamda.testing.reference import reference

    x = jnp.ones((2, 4))

    @settings(quick, max_examples=5)
    @given(regroupings(MODEL))
    def equal(model):
        assert (reference(model, x) == reference(MODEL, x)).all()

    equal()
