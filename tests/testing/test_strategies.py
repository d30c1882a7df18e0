"""What is drawn is well typed, varied, and shrinks to little."""

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import lamda as lm
from lamda import types
from lamda.errors import SpecError
from lamda.term import lifts, written
from lamda.testing import parts, strategies
from lamda.testing.reference import reference

SOME = settings(max_examples=50, database=None, suppress_health_check=list(HealthCheck))
FIND = settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck))


@SOME
@given(st.data())
def test_terms_have_the_types_that_are_asked_for(data):
    input = data.draw(strategies.types())
    term = data.draw(strategies.terms(input=input, output=input))
    assert types.plain(term.input) == types.plain(input) == types.plain(term.output)
    model = data.draw(strategies.closed(term))
    assert not model.open and types.plain(model.input) == types.plain(input)


@pytest.mark.parametrize(
    ("input", "output"),
    [
        ({"ids": "int32[b, t]", "mask": "bool[b, t]"}, "float32[b, 5]"),
        ("float32[2*b, 3]", ("float32[2*b]", "bool[]")),
        ("float32[n, m]", {"a": "float32[m, n]", "b": "int32[n+1]"}),
    ],
)
def test_types_of_a_user_are_reached(input, output):
    @settings(SOME, max_examples=10)
    @given(strategies.models(input=input, output=output))
    def check(model):
        assert types.show(model.input) == types.show(types.typeof(input))
        assert types.show(model.output) == types.show(types.typeof(output))

    check()


def test_what_can_not_be_reached_is_refused():
    with pytest.raises(SpecError) as error:
        strategies.models(input="float32[b]", output="float32[n]")
    assert str(error.value) == (
        "no term goes from float32[b] to float32[n]: a named dimension of the output must be one "
        "of the input. Name the dimension in the input, or write a number in the output"
    )


@SOME
@given(st.data())
def test_rows_stay_rows(data):
    model = data.draw(strategies.models(input="float32[b, 2]", output="float32[b]"))
    x = data.draw(strategies.arrays("float32[3, 2]"))
    whole = reference(model, x)
    rows = [reference(model, x[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(whole, np.concatenate(rows), rtol=1e-4, atol=1e-4)


def double(f: lm.Model) -> lm.Model:
    return f >> f  # of what gives what it takes


def picked(f: lm.Model) -> lm.Model:
    return lm.vmap(f)


@pytest.mark.parametrize("combinator", [double, picked, lm.scan])
def test_a_combinator_of_a_user_is_used_where_it_can_be(combinator):
    used = []

    def counted(f: lm.Model) -> lm.Model:
        made = combinator(f)
        used.append(made)
        return made

    @settings(SOME, max_examples=30)
    @given(strategies.models(within=[counted]))
    def check(model):
        assert not model.open

    check()
    assert len(used) > 5 or combinator is lm.scan


@SOME
@given(strategies.models(within=[lm.branch]))
def test_only_what_is_allowed_is_used(model):
    names = {lift.function.name for _, lift in lifts(model.term)}
    assert not names & {"add", "multiply", "concat", "stack", "mean", "max", "mix"}


@SOME
@given(st.data())
def test_combinators_keep_the_type(data):
    model = data.draw(strategies.models(size=3))
    made = data.draw(strategies.combinators())(model)
    assert types.plain(made.input) == types.plain(model.input)
    assert types.plain(made.output) == types.plain(strategies.given(model))


@SOME
@given(st.data())
def test_weights_fit(data):
    model = data.draw(strategies.models())
    assert not model.replace_weights(data.draw(strategies.weights(model))).open


@SOME
@given(strategies.arrays({"x": "bfloat16[b, 2]", "n": "int32[b]", "t": "bool[]"}, {"b": 2}))
def test_values_have_their_types(value):
    assert types.show(types.typeof(value)) == "{n: int32[2], t: bool[], x: bfloat16[2, 2]}"
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(value))


@SOME
@given(st.data())
def test_primitives_are_one_part(data):
    input = data.draw(strategies.types())
    part = data.draw(strategies.primitives(input=input))
    assert written(part.term) == 1 and types.plain(part.input) == types.plain(input)


@pytest.mark.parametrize(
    ("name", "found", "most"),
    [
        ("two weights", lambda m: len(m.slots) > 1, 6),
        ("a branch", lambda m: "&" in m.name or "branch(" in m.name, 8),
    ],
)
def test_shrinking_ends_at_little(name, found, most):
    model = find(strategies.models(), found, settings=FIND)
    assert written(model.term) <= most
    assert all(len(leaf.shape) <= 2 for _, leaf in types.leaves(model.input))


def test_models_are_printed_as_python():
    @settings(database=None, max_examples=5)
    @given(st.just(lm.lift(parts.double, input="float32[b]")))
    def check(model):
        raise AssertionError

    with pytest.raises(AssertionError) as error:
        check()
    notes = "\n".join(error.value.__notes__)
    assert "model=lm.lift(parts.double, input='float32[b]')" in notes
