"""Knowing a model: how it is written, tabulated, drawn and compared."""

from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import dense

import lamda as lm
import lamda.kinds
import lamda.term
from lamda.combinators.joined import joined
from lamda.kinds import Iterate, Remat, Scan, Switch, Until, Vmap
from lamda.lift.arithmetic import beside, negative, pair
from lamda.lift.plain import python
from lamda.rebuild import rebuild
from lamda.term import IDENTITY, Branch, Compose, Control, Named, Pick, sequence
from lamda.types import ArrayType

f, g, h = (dense(4, 4, i, name) for i, name in enumerate("fgh"))
relu = lm.lift(jax.nn.relu)


def control(kind, *bodies):
    bound = {s: w for body in bodies for s, w in body.environment.items()}
    return rebuild(Control(kind, tuple(body.term for body in bodies)), bound)


# --- writing ---

kinds = st.one_of(
    st.builds(Iterate, st.integers(0, 9)),
    st.sampled_from([Remat(), Scan(), Switch(), Until(), Vmap()]),
)
leaves = st.one_of(
    st.builds(Pick, st.one_of(st.integers(-2, 2), st.text("ab'\\", max_size=3))),
    st.just(IDENTITY),
    st.sampled_from(
        [
            lm.lift(jnp.tanh).term,
            lm.lift(jax.nn.relu, input="float32[b, 4]", name="r").term,
            lm.fn(lambda x: 2.5 / x @ -x + x, input="float32[3, 3]").term,
            lm.residual(lm.lift(jnp.tanh)).term,
            lm.multiply(lm.identity, lm.identity).term,
            lm.concat(lm.identity, lm.identity, axis=0).term,
            lm.stack(lm.identity, lm.identity).term,
            lm.ensemble([lm.identity, lm.identity]).term,
            lm.ensemble([lm.identity, lm.identity], reduce="max").term,
            lm.mixture(lm.identity, [lm.identity, lm.identity]).term,
        ]
    ),
)
SCOPE = vars(lamda.term) | vars(lamda.kinds)
SCOPE |= {f.__name__: f for f in (python, pair, beside, negative, joined, ArrayType)}


def _larger(inner):
    lists = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        lists.map(lambda parts: sequence(*parts)),
        lists.map(lambda parts: Branch(tuple(parts))),
        lists.map(lambda parts: Branch(tuple(parts), tuple("abc"[: len(parts)]))),
        st.builds(Control, kinds, lists.map(tuple)),
        st.builds(Named, st.text("ab ", max_size=3), inner),
    )


terms = st.recursive(leaves, _larger, max_leaves=8)


@given(terms)
def test_terms_are_written_as_they_are_made(term):
    assert eval(repr(term), SCOPE) == term


@given(terms)
def test_terms_are_hashable(term):
    assert hash(term) == hash(eval(repr(term), SCOPE))


WRITTEN = {
    "f": f,
    "f >> relu >> g": f >> (relu >> g),
    "(f & g)": f & g,
    "((f >> g) & h)": (f >> g) & h,
    "((f & g) & h)": (f & g) & h,
    "branch(f, g >> h, identity)": lm.branch(f, g >> h, lm.identity),
    "branch(f)": lm.branch(f),
    "(identity & f) >> pick(1)": (lm.identity & f) >> lm.pick(1),
    "branch(a=f, b=f >> g) >> pick('a')": lm.branch(a=f, b=f >> g) >> lm.pick("a"),
    "iterate(f >> relu, 3) >> g": control(Iterate(3), f >> relu) >> g,
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_model_is_written_as_on_a_board(text):
    assert str(WRITTEN[text]) == text


@pytest.mark.parametrize("text", [t for t in WRITTEN if "iterate" not in t])
def test_what_is_written_makes_the_model_again(text):
    names = {"f": f, "g": g, "h": h, "relu": relu, "branch": lm.branch, "pick": lm.pick}
    again = eval(text, names | {"identity": lm.identity})
    assert again.term == WRITTEN[text].term


# --- tables ---


def test_tabulate():
    model = lm.freeze(dense(2, 3, 0, "body")) >> dense(3, 3, 1, "mix") >> relu
    model = model >> model["mix"] >> lm.lift(lambda w, x: x[:, w], jnp.arange(2), name="take")
    digests = ["/".join(path) + f"  {t.digest[:19]}" for path, t, _ in model.tensors()]
    lines = model.tabulate().splitlines()
    assert [line.split("sha256")[0] for line in lines] == [
        "path         type           numbers           digest",
        "body/bias    float32[3]           3  frozen   ",
        "body/kernel  float32[2, 3]        6  frozen   ",
        "mix/bias     float32[3]           3  trained  ",
        "mix/kernel   float32[3, 3]        9  trained  ",
        "mix_1                                trained  tied to mix",
        "take         int32[2]             2  frozen   ",
        "23 numbers, 12 trained and 11 frozen; 92 bytes",
    ]
    told = [f"{line.split()[0]}  {line.split()[-1]}" for line in lines if "sha256" in line]
    assert told == digests


def test_open_models_have_no_table():
    import flax.linen as nn

    with pytest.raises(lm.OpenError, match="Close it first"):
        lm.lift(nn.Dense(2)).tabulate()


# --- pictures ---

SVG = "{http://www.w3.org/2000/svg}"
drawn = lm.named(lm.freeze(f) >> relu, "body") >> control(Iterate(3), g >> relu) >> (h & relu)


def test_names_and_controls_are_drawn():
    root = ElementTree.fromstring(drawn.draw())
    texts = [t.text for t in root.iter(f"{SVG}tspan") if t.text]
    assert {"body: f", "iterate(3)", "g", "h"} <= set(texts)
    (inner,) = root.findall(f".//{SVG}g")
    assert [t.text for t in inner.iter(f"{SVG}tspan")][::2] == ["input", "g", "relu", "output"]
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in root.findall(f"{SVG}rect")[1:]:
        assert float(rect.get("x")) >= 0
        assert float(rect.get("x")) + float(rect.get("width")) <= width
        assert float(rect.get("y")) + float(rect.get("height")) <= height


def test_mermaid():
    lines = drawn.mermaid().splitlines()
    assert lines[:14] == [
        "flowchart TB",
        '  n0(["input<br>float32[b, 4]"]):::end_',
        '  n1["body: f<br>float32[b, 4]"]:::frozen',
        '  n2["relu<br>float32[b, 4]"]:::none',
        '  subgraph n3["iterate(3)<br>float32[b, 4]"]',
        '    n3_0_0(["input<br>float32[b, 4]"]):::end_',
        '    n3_0_1["g<br>float32[b, 4]"]:::trained',
        '    n3_0_2["relu<br>float32[b, 4]"]:::none',
        '    n3_0_3(["output"]):::end_',
        "    n3_0_0 --> n3_0_1",
        "    n3_0_1 --> n3_0_2",
        "    n3_0_2 --> n3_0_3",
        "  end",
        "  class n3 trained",
    ]
    assert "  n3 --> n4" in lines and "  n3 --> n5" in lines
    assert "#lt;1#gt;#amp;" in dense(2, 2, 0, "<1>&").mermaid()


def test_notebooks_show_what_there_is():
    assert set(drawn._repr_mimebundle_()) == {"text/plain", "image/svg+xml"}
    assert relu._repr_mimebundle_() == {"text/plain": "<relu: ? -> ?>"}


# --- differences ---


def test_the_same_is_no_difference():
    assert not lm.diff(f >> (g >> h), (f >> g) >> h)
    assert str(lm.diff(f, f)) == f"the same: {f.address}"
    assert not lm.diff(f, lm.freeze(f)).tensors


def test_changed_tensors_are_told():
    model = lm.freeze(f) >> g
    new = lm.succ(model, {"g": model.weights["g"] | {"bias": jnp.array([3.0, 0, 4.0, 0])}})
    difference = lm.diff(model, new)
    assert difference
    assert (difference.size, difference.parts) == (16, ())
    assert str(difference) == (
        f"- {model.address}\n+ {new.address}\n~ g/bias  float32[4]  norm 5  16 bytes\n"
        "1 tensor, 16 bytes"
    )


def test_changed_parts_are_told():
    other = lm.lift(lambda x: jnp.maximum(x, 1), name="relu")
    difference = lm.diff(f >> relu >> g, f >> other >> dense(4, 2, 3, "g"))
    assert [part.split(",")[0] for part in difference.parts] == [
        "- relu: relu", "+ relu: relu", "- g: g", "+ g: g",
    ]  # fmt: skip
    assert [str(change) for change in difference.tensors] == [
        "~ g/bias  float32[4] -> float32[2]  8 bytes",
        "~ g/kernel  float32[4, 4] -> float32[4, 2]  32 bytes",
    ]
    assert lm.diff(f, f & f).parts
    added = lm.diff(f, lm.compose(f, h))
    assert "+ h/bias    float32[4]     16 bytes\n+ h/kernel  float32[4, 4]  64 bytes" in str(added)


def test_a_changed_control_is_told():
    two, three = control(Iterate(2), f), control(Iterate(3), f)
    assert lm.diff(two, three).parts == ("- (the root): iterate(2,)", "+ (the root): iterate(3,)")


def test_a_composition_of_nothing():
    assert Compose(()) == IDENTITY and str(IDENTITY) == "identity"
