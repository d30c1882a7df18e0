"""Mistakes, and what is said of them: every text is asserted to the letter."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from parts import dense

import lamda as lm

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
relu = lm.lift(jax.nn.relu)
pair = lm.lift(lambda x: (x["a"], x["b"]), name="pair",
               input={"a": "float32[b, 3]", "b": "int32[b]"})  # fmt: skip
end = "\nPut a part between them that turns one into the other, or change the type of one of them."


def takes(input, name="taker"):
    return lm.lift(lambda x: x, input=input, name=name)


def count(x, seen=[0]):  # noqa: B006
    seen[0] += 1
    return x * seen[0]


MISTAKES = {
    "an axis": (lambda: f >> dense(9, 2, 0, "head", "n"), lm.MismatchError,
        "f does not compose with head:\n"
        "  f gives float32[b, 8]\n      made at HERE\n"
        "  head takes float32[n, 9]\n      made at HERE\n"
        "  axis 1: 8 is not 9" + end),
    "a dtype and two axes": (lambda: f >> takes("bfloat16[3, 7]") >> takes("int32[4, 6]", "last"),
        lm.MismatchError,
        "f does not compose with taker:\n"
        "  f gives float32[b, 8]\n      made at HERE\n"
        "  taker takes bfloat16[3, 7]\n      made at HERE\n"
        "  dtype: float32 is not bfloat16; lamda promotes no dtype silently\n"
        "  axis 1: 8 is not 7" + end),
    "a rank": (lambda: f >> takes("float32[b]"), lm.MismatchError,
        "f does not compose with taker:\n"
        "  f gives float32[b, 8]\n      made at HERE\n"
        "  taker takes float32[b]\n      made at HERE\n"
        "  rank: float32[b, 8] has 2 axes, float32[b] has 1" + end),
    "keys": (lambda: lm.branch(a=f, c=f) >> pair, lm.MismatchError,
        "branch(a=f, c=f) does not compose with pair:\n"
        "  branch(a=f, c=f) gives {a: float32[b, 8], c: float32[b, 8]}\n      made at HERE\n"
        "  pair takes {a: float32[b, 3], b: int32[b]}\n      made at HERE\n"
        "  structure: 'b' missing\n"
        "  structure: 'c' not asked for\n"
        "  axis 1 at ['a']: 8 is not 3" + end),
    "a tree of another kind": (lambda: (f & f) >> g, lm.MismatchError,
        "(f & f) does not compose with g:\n"
        "  (f & f) gives (float32[b, 8], float32[b, 8])\n      made at HERE\n"
        "  g takes float32[b, 8]\n      made at HERE\n"
        "  structure: a tuple of 2, is not one array, float32[b, 8]" + end),
    "a tuple of another length": (
        lambda: lm.branch(f, f, f) >> takes(("float32[b, 8]",) * 2), lm.MismatchError,
        "branch(f, f, f) does not compose with taker:\n"
        "  branch(f, f, f) gives (float32[b, 8], float32[b, 8], float32[b, 8])\n"
        "      made at HERE\n"
        "  taker takes (float32[b, 8], float32[b, 8])\n      made at HERE\n"
        "  structure: a tuple of 3, is not a tuple of 2" + end),
    "two inputs of a branch": (lambda: f & g, lm.MismatchError,
        "f and g do not branch from one input:\n"
        "  f takes float32[b, 4]\n      made at HERE\n"
        "  g takes float32[b, 8]\n      made at HERE\n"
        "  axis 1: 4 is not 8\n"
        "All parts of a branch read the same input; give them one type, or pick their parts of it "
        "first."),
    "an input": (lambda: pair({"a": jnp.ones((2, 3)), "b": jnp.ones(2)}), lm.MismatchError,
        "pair takes {a: float32[b, 3], b: int32[b]}, and was given "
        "{a: float32[2, 3], b: float32[2]}:\n"
        "  dtype at ['b']: float32 is not int32; lamda promotes no dtype silently"),
    "a size that is two": (lambda: pair({"a": jnp.ones((2, 3)), "b": jnp.arange(5)}),
        lm.MismatchError,
        "pair takes {a: float32[b, 3], b: int32[b]}, and was given {a: float32[2, 3], b: int32[5]}:"
        "\n  axis 0 at ['b']: 5 is not 2"),
    "a pick that misses": (lambda: lm.branch(a=f, b=f) >> lm.pick("c"), lm.MismatchError,
        "branch(a=f, b=f) gives {a: float32[b, 8], b: float32[b, 8]}, which has no 'c': pick one "
        "of 'a', 'b'\n"
        "  branch(a=f, b=f) gives {a: float32[b, 8], b: float32[b, 8]}\n      made at HERE"),
    "a pick from an array": (lambda: f >> lm.pick(0), lm.MismatchError,
        "f gives float32[b, 8], which is one array: there is nothing to pick from\n"
        "  f gives float32[b, 8]\n      made at HERE"),
    "a part that does not run": (
        lambda: f >> lm.lift(lambda x: x @ jnp.ones((9, 2)), name="square"), lm.MismatchError,
        "square does not run on float32[b, 8]: TypeError: WHY\n"
        "  made at HERE\n"
        "  f gives float32[b, 8]\n      made at HERE"),
    "what is no model": (lambda: lm.compose(f, 3), lm.SpecError,
        "compose takes models, and got 3. Lift it first: lm.lift(f) makes a model of a function or "
        "a Flax module."),
    "no parts": (lambda: lm.branch(), lm.SpecError, "branch takes at least one model"),
    "no type": (lambda: takes("float31[b]"), lm.SpecError,
        "'float31[b]' is no type: write 'float32[b, 384]', or give an array, a "
        "jax.ShapeDtypeStruct, or a tuple or dict of these"),
    "no weights yet": (lambda: lm.lift(nn.Dense(2), name="head").weights, lm.OpenError,
        "head is open: its weights are not there yet. Close it first: model.init(key) or "
        "model.init(key, input)."),
    "no input type": (lambda: relu.address, lm.OpenError,
        "the input type of relu is not known. Say it when lifting, "
        "lm.lift(f, input='float32[b, 16]'), or compose it after a part that has a type."),
    "a counter": (lambda: lm.lift(count, input="float32[b]"), lm.ImpureError, None),
    "weights of another shape": (
        lambda: lm.succ(f, {"kernel": jnp.ones((4, 9)), "bias": jnp.zeros(8)}), lm.SpecError,
        "the weights given do not fit f: at ['kernel'], expected float32[4, 8], got "
        "float32[4, 9]. Start from model.weights and change the leaves."),
    "a successor of another type": (lambda: lm.succ(f, f >> g), lm.MismatchError,
        "a successor has the types of its predecessor: f is float32[b, 4] -> float32[b, 8], the "
        "new one is float32[b, 4] -> float32[b, 2]"),
    "no function": (lambda: lm.lift(3), lm.SpecError,
        "3 can not be lifted: give a function of (x) or of (weights, x), or a Flax module"),
    "a function of two": (lambda: lm.lift(lambda a, b: a), lm.SpecError,
        "lift calls the function as f(x), and this one is <lambda>(a, b). Give weights= for a "
        "function of (weights, x), none for a function of (x); several inputs go into one tuple or "
        "dict."),
    "no such part": (lambda: (f >> g)["head"], lm.MissingError,
        "f >> g has no part 'head'; its parts are 'f', 'g'"),
    "a number too large": (lambda: (f >> g)[2], lm.MissingError,
        "f >> g has 2 parts, counted from 0: there is no part 2"),
    "nothing selected": (lambda: lm.replace(f >> g, {"*/g": f}), lm.MissingError,
        "nothing in f >> g is '*/g'; its paths are 'f', 'g'"),
    "a loop that changes the type": (lambda: lm.iterate(f, n=2), lm.MismatchError,
        "the body of an iteration must give the type that it takes: it takes float32[b, 4], and "
        "it gives float32[b, 8]\n"
        "  f gives float32[b, 8]\n      made at HERE"),
    "a message that is none": (lambda: f("age"), lm.SpecError,
        "'age' is no message: a model answers 'who', 'pred' and 'succ', or is called with arrays "
        "of type float32[b, 4]"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_said_of_a_mistake(mistake):
    make, error, text = MISTAKES[mistake]
    with pytest.raises(error) as raised:
        make()
    said = re.sub(r"made at .+\.py:\d+", "made at HERE", str(raised.value))
    said = re.sub(r"(square does not run .+: TypeError): .+", r"\1: WHY", said)
    assert said.startswith("count is not pure: ") if text is None else said == text


def test_there_are_at_least_twenty():
    assert sum(text is not None for _, _, text in MISTAKES.values()) >= 20


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (lm.MismatchError, TypeError),
        (lm.SpecError, ValueError),
        (lm.OpenError, ValueError),
        (lm.ImpureError, ValueError),
        (lm.MissingError, LookupError),
    ],
)
def test_an_error_is_the_nearest_builtin(error, builtin):
    assert issubclass(error, builtin) and issubclass(error, lm.LamdaError)


def test_a_mismatch_names_the_lines():
    with pytest.raises(lm.MismatchError) as error:
        takes("float32[b, 8]", "left") >> takes("float32[b, 9]", "right")
    assert len(set(re.findall(r"test_messages\.py:\d+", str(error.value)))) == 1
