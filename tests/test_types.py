import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamda as lm
from lamda import types
from lamda.types import ArrayType, show, substitute, typeof
from lamda.unify import Unifier

dims = st.one_of(st.integers(0, 4), st.sampled_from(["b", "n", "t"]))
arrays = st.builds(
    ArrayType, st.sampled_from(["float32", "int32", "bool"]), st.lists(dims, max_size=3).map(tuple)
)
trees = st.recursive(
    arrays,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    ),
    max_leaves=4,
)


@given(arrays)
def test_a_type_is_written_as_it_prints(type):
    assert typeof(str(type)) == type


@given(trees)
def test_json_and_back(type):
    assert types.from_json(types.to_json(type)) == type


@given(trees)
def test_a_type_unifies_with_itself_renamed(type):
    renamed = substitute(type, {"b": "x", "n": "y", "t": "z"})
    unifier = Unifier()
    assert unifier.unify(type, renamed)
    assert unifier.left(type) == unifier.right(renamed)
    assert types.canonical(type) == types.canonical(renamed)


@given(trees, trees)
def test_what_unifies_becomes_one_type(left, right):
    unifier = Unifier()
    if unifier.unify(left, right):
        assert types.canonical(unifier.left(left)) == types.canonical(unifier.right(right))
    else:
        assert unifier.differences


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (jnp.zeros((2, 3)), "float32[2, 3]"),
        (np.zeros(3, np.int32), "int32[3]"),
        (jax.ShapeDtypeStruct((), jnp.bfloat16), "bfloat16[]"),
        ("float32[b 2 t]", "float32[b, 2, t]"),
        (("int32[n]", {"b": "bool[]", "a": "int8[n]"}), "(int32[n], {a: int8[n], b: bool[]})"),
    ],
)
def test_typeof(value, text):
    assert show(typeof(value)) == text


@pytest.mark.parametrize(
    "value",
    [
        "float31[b]",
        "b 16",
        object(),
        {1: "int32[]"},
        "float32[-1]x",
        "float32[b,,c]",
        "float32[b +]",
    ],
)
def test_what_is_no_type_is_refused(value):
    with pytest.raises(lm.SpecError, match="is no type: write 'float32"):
        typeof(value)


def test_names_flow_both_ways():
    unifier = Unifier()
    assert unifier.unify(typeof("float32[b, n]"), typeof("float32[m, m]"))
    assert show(unifier.left(typeof("float32[b, n]"))) == "float32[b, b]"


def test_expressions_are_substituted():
    assert show(substitute(typeof("float32[2*b, b + t]"), {"b": 3})) == "float32[6, t + 3]"


def test_one_expression_of_names_agrees_with_itself():
    doubled = lm.lift(lambda x: x * 2, input="float32[2*b, 3]")
    assert (doubled >> doubled).output == types.typeof("float32[2*b, 3]")
