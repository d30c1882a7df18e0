"""Surgery: slices, selections and replacing keep operands and ties, and obey the lens laws."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from parts import dense, dense_function, rows

import lamda as lm
from lamda.kinds import Iterate, Switch, Vmap
from lamda.model import Model
from lamda.rebuild import rebuild
from lamda.surgery.places import get, places
from lamda.term import Branch, Compose, Control, Named

f, g, h = (dense(4, 4, i, name) for i, name in enumerate("fgh"))
relu = lm.lift(jax.nn.relu)
x = rows(3, 4)


def named(name, model):
    return rebuild(Named(name, model.term), model.environment)


def control(kind, *bodies):
    bound = {s: w for body in bodies for s, w in body.environment.items()}
    return rebuild(Control(kind, tuple(body.term for body in bodies)), bound)


# --- rebuilding and slicing ---

MODELS = {
    "a part": f,
    "a composition": f >> relu >> g >> h,
    "branches": f >> lm.branch(a=g, b=relu >> h) >> lm.branch(lm.pick("a"), lm.pick("b") >> f),
    "named": named("body", f >> relu) >> named("head", g) >> relu,
    "controls": f >> control(Iterate(2), g >> relu) >> control(Vmap(), lm.lift(jnp.sin)),
    "tied": f >> g >> f >> lm.freeze(g),
    "all untyped but the input": (lm.lift(nn.Dense(4)) >> relu >> lm.lift(nn.Dense(2))).init(
        jax.random.key(0), "float32[b, 4]"
    ),
    "one size": f >> relu >> lm.lift(lambda x: x[:2], input="float32[3, 4]", name="three"),
}


@pytest.mark.parametrize("what", MODELS)
def test_a_model_is_rebuilt_from_its_term(what):
    model = MODELS[what]
    again = rebuild(model.term, model.environment, model.input)
    assert (repr(again), again.term, again.address) == (repr(model), model.term, model.address)


@pytest.mark.parametrize("what", MODELS)
def test_what_is_split_and_composed_is_the_model(what):
    model = MODELS[what]
    for i in range(len(model) + 1):
        left, right = model[:i], model[i:]
        assert (left >> right).address == model.address
        assert right.input is not None and left.input is not None
        np.testing.assert_array_equal(jax.tree.leaves(right(left(x))), jax.tree.leaves(model(x)))
    assert lm.compose(*model).address == model.address


def test_a_slice_is_given_what_the_parts_before_give():
    model = MODELS["all untyped but the input"]
    assert repr(model[1:]) == "<relu >> Dense: float32[b, 4] -> float32[b, 2]>"
    assert repr(model[-1]) == "<Dense: float32[b, 4] -> float32[b, 2]>"
    assert repr(model[1:1]) == "<identity: float32[b, 4] -> float32[b, 4]>"
    assert repr(f[0]) == repr(f) and len(f) == 1 and len(lm.identity) == 0 and bool(lm.identity)
    assert [m.name for m in f >> g >> relu] == ["f", "g", "relu"]


def test_parts_are_found_by_name():
    model = f >> named("heads", lm.branch(a=g, b=h >> h)) >> lm.pick("b")
    assert model["f"].term == f.term
    assert model["heads"].name == "heads"
    assert model["heads"]["b"].name == "h >> h"
    assert model["heads"]["b"]["h_1"].address == h.address
    with pytest.raises(lm.MissingError) as error:
        model["head"]
    assert str(error.value) == (
        "f >> heads >> pick('b') has no part 'head'; its parts are 'f', 'heads', 'pick'"
    )
    with pytest.raises(lm.MissingError, match="has 3 parts, counted from 0: there is no part 3"):
        model[3]
    with pytest.raises(lm.SpecError, match="its step is 1, not 2"):
        model[::2]


def test_names_in_paths_are_distinct():
    model = f >> dense(4, 4, 5, "f") >> dense(4, 4, 6, "f_1")
    assert list(model.weights) == ["f", "f_1", "f_1_1"]
    again = model.replace_weights(model.weights)
    assert again.address == model.address


def test_splitting_and_grafting():
    model = f >> relu >> g
    left, right = lm.split_at(model, "relu")
    assert (left.name, right.name) == ("f", "relu >> g")
    assert lm.graft(model, lm.identity, 1).address == model.address
    assert lm.graft(model, h, "g").term == (f >> relu >> h >> g).term
    assert lm.graft(model, h, len(model)).term == (model >> h).term
    wide = lm.graft(f >> relu, dense(4, 6, 7, "wide"), 1)  # relu takes what it is given
    assert repr(wide) == "<f >> wide >> relu: float32[b, 4] -> float32[b, 6]>"
    with pytest.raises(lm.MismatchError, match="wide does not compose with g"):
        lm.graft(model, dense(4, 6, 7, "wide"), "g")


# --- selecting ---

deep = f >> lm.branch(a=g, b=relu >> named("head", h)) >> lm.pick("b")


@pytest.mark.parametrize(
    ("what", "paths"),
    [
        ("f", ("f",)),
        ("", ("",)),
        ("branch/b", ("branch/b",)),
        ("branch/*", ("branch/a", "branch/b")),
        ("*/b/head", ("branch/b/head",)),
        ("**/head", ("branch/b/head",)),
        ("**", ("",)),
        (["f", "branch/a"], ("f", "branch/a")),
        ("nothing", ()),
        (dense_function, ("f", "branch/a", "branch/b/head")),
        (jax.nn.relu, ("branch/b/relu",)),
        (h, ("branch/b/head",)),
        (relu >> named("head", h), ("branch/b",)),
        ("float32[n, 4] -> ?", ("",)),
        ("? -> {}", None),
    ],
)
def test_selecting(what, paths):
    if paths is None:
        with pytest.raises(lm.SpecError, match="is no type"):
            lm.select(deep, what)
    else:
        assert lm.select(deep, what).paths == paths
        assert len(lm.select(deep, what)) == len(paths)


def test_selecting_by_predicate():
    found = lm.select(deep, where=lambda part: part.name in ("g", "relu"))
    assert found.paths == ("branch/a", "branch/b/relu")
    assert [repr(m) for m in found.get()] == [
        "<g: float32[b, 4] -> float32[b, 4]>",
        "<relu: float32[b, 4] -> float32[b, 4]>",
    ]
    both = lm.select(deep, dense_function, where=lambda part: part.term != f.term)
    assert both.paths == ("branch/a", "branch/b/head")


def test_selecting_by_the_class_of_a_module():
    linen = lm.lift(nn.Dense(4)) >> relu >> lm.lift(nn.LayerNorm())
    assert lm.select(linen, nn.Dense).paths == ("Dense",)
    assert lm.select(linen, nn.Module).paths == ("Dense", "LayerNorm")
    nnx_model = f >> lm.lift(nnx.Linear(4, 2, rngs=nnx.Rngs(0)), input="float32[b, 4]")
    assert lm.select(nnx_model, nnx.Linear).paths == ("Linear",)


def test_a_composition_is_found_inside_of_a_longer_one():
    model = f >> g >> relu >> f >> g
    found = lm.select(model, f >> g)
    assert [p.name for p in found.get()] == ["f >> g", "f >> g"]
    assert found.set(h).name == "h >> relu >> h"
    assert lm.replace(model, {f >> g: h}).address == (h >> relu >> h).address


# --- setting ---


def test_names_stay_and_operands_too():
    before = (repr(deep), deep.address)
    new = lm.select(deep, "branch/b/head").set(dense(4, 2, 9, "probe"))
    assert (repr(deep), deep.address) == before
    assert list(new.weights["branch"]["b"]) == ["head"]
    assert repr(new).endswith(": float32[b, 4] -> float32[b, 2]>")


def test_ties_are_kept():
    model = f >> g >> f >> relu >> f
    elsewhere = lm.replace(model, {"g": h})
    assert [leaf.shape for leaf in jax.tree.leaves(elsewhere)] == [(4,), (4, 4)] * 2
    one = lm.select(model, "f_1").set(h)
    assert list(one.weights) == ["f", "g", "f_1"]
    assert one.address == (f >> g >> h >> relu >> f).address
    frozen = lm.select(model, f).apply(lm.freeze)
    assert list(frozen.weights) == ["g"]
    fresh = lm.select(model, f).apply(
        lambda part: lm.succ(part, part.weights | {"bias": jnp.ones(4)})
    )
    assert list(fresh.weights) == ["f", "g"]  # applied once: still tied


def test_applying_and_freezing_by_selection():
    assert lm.freeze(deep, "**/head").weights.keys() == {"f", "branch"}
    frozen = lm.freeze(deep, ["f", "branch/a"])
    assert list(frozen.weights) == ["branch"] and list(frozen.weights["branch"]) == ["b"]
    assert frozen.address == deep.address


def test_inserting_and_removing():
    model = f >> relu >> g
    assert lm.select(model, jax.nn.relu).remove().term == (f >> g).term
    assert lm.select(model, "relu").insert(before=h).term == (f >> h >> relu >> g).term
    assert lm.select(model, "relu").insert(after=h).term == (f >> relu >> h >> g).term
    assert lm.select(deep, "branch/a").insert(after=h).name == (
        "f >> branch(a=g >> h, b=relu >> head) >> pick('b')"
    )
    assert lm.select(deep, "branch/a").remove().name == "f >> branch(b=relu >> head) >> pick('b')"
    assert repr(lm.select(model, "f").remove()) == "<relu >> g: float32[b, 4] -> float32[b, 4]>"
    untyped = MODELS["all untyped but the input"]
    assert repr(lm.select(untyped, "Dense").remove()) == (
        "<relu >> Dense: float32[b, 4] -> float32[b, 2]>"
    )
    with pytest.raises(lm.MismatchError, match="has no 'b': pick one of 'a'"):
        lm.select(deep, "branch/b").remove()
    with pytest.raises(lm.SpecError, match="branch takes at least one model"):
        lm.select(f >> lm.branch(g), g).remove()


def test_inside_of_controls():
    model = control(Iterate(3), f >> relu) >> g
    assert lm.select(model, f).paths == ("iterate/f",)
    assert lm.replace(model, {f: h}).address == (control(Iterate(3), h >> relu) >> g).address
    chosen = lm.branch(lm.lift(lambda x: 1, name="one"), lm.identity) >> control(Switch(), g, h)
    assert lm.select(chosen, h).paths == ("switch/1",)
    assert lm.select(chosen, "switch/0").remove().name == (
        "(one & identity) >> switch(identity, h)"
    )
    with pytest.raises(lm.MismatchError, match="the body of an iteration must give the type"):
        lm.replace(model, {f: dense(4, 5, 3, "wide")})


def test_parts_may_change_places():
    model = f >> relu >> g
    assert lm.replace(model, {"f": g, "g": f}).address == (g >> relu >> f).address
    assert lm.replace(model, {}) is model


def test_widths_change_where_both_sides_do():
    up, down = dense(4, 6, 3, "up"), dense(6, 4, 4, "down")
    new = lm.replace(f >> relu >> g, {"f": up, "g": down})
    assert repr(new) == "<f >> relu >> g: float32[b, 4] -> float32[b, 4]>"
    assert new.address == (up >> relu >> down).address


def test_what_does_not_fit_is_refused():
    with pytest.raises(lm.MismatchError) as error:
        lm.replace(f >> relu >> g, {"g": dense(5, 2, 0, "head")})
    assert str(error.value).startswith(
        "relu does not compose with g:\n  relu gives float32[b, 4]\n"
    )
    with pytest.raises(lm.MissingError) as error:
        lm.replace(f >> relu, {"haed": g})
    assert str(error.value) == "nothing in f >> relu is 'haed'; its paths are 'f', 'relu'"
    with pytest.raises(lm.SpecError) as error:
        lm.replace(deep, {"branch": f, "branch/a": g})
    assert str(error.value) == (
        "branch and branch/a are one inside of the other: replace one, and then the other"
    )
    with pytest.raises(lm.SpecError) as error:
        lm.select(deep, dense_function).set(f, g)
    assert str(error.value) == (
        "3 places are selected, and 2 models are given: give one, or one for each"
    )
    with pytest.raises(lm.SpecError, match="3 selects nothing: give a path"):
        lm.select(deep, 3)
    with pytest.raises(lm.SpecError, match="set takes models"):
        lm.select(deep, "f").set(jnp.tanh)


def test_what_takes_any_input_keeps_the_one_it_has():
    model = rebuild(Named("one", lm.pick(0).term), {}, (f.input, f.input))
    _, inside = places(model.term)
    changed = lm.Selection(model, (inside,), "inside").set(lm.pick(1))
    assert repr(changed) == "<one: (float32[b, 4], float32[b, 4]) -> float32[b, 4]>"


# --- the lens laws, on small terms ---

total = lm.lift(lambda v: v[0] + v[1], name="add")
leaves = st.sampled_from([f, g, h, relu, lm.identity, lm.freeze(g)])
terms = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda ms: lm.compose(*ms)),
        inner.map(lambda m: named("n", m)),
        inner.map(lambda m: control(Iterate(2), m) if m.output == m.input else m),
        st.tuples(inner, inner).map(lambda p: lm.branch(*p) >> total),
    ),
    max_leaves=5,
).map(lambda m: f >> m)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(terms, st.sampled_from([f, h >> relu, named("p", g)]), st.sampled_from([g, relu]), st.data())
def test_lens_laws(model: Model, p: Model, q: Model, data):
    place = data.draw(st.sampled_from(list(places(model.term))))
    selection = lm.Selection(model, (place,), "a place")
    # Set what was got, and nothing has changed.
    same = selection.set(*selection.get())
    assert same.term == model.term and same.address == model.address
    # Get what was set, at the same place and by the same path.
    try:
        once, other = selection.set(p), selection.set(q)
    except lm.MismatchError:
        assume(False)
        raise
    assert get(once, place).address == p.address
    if place.listed:
        (found,) = lm.select(once, selection.paths).get()
        assert found.address == p.address
    # Set again, and the first is forgotten.
    (moved,) = (each for each in places(once.term) if each.way == place.way)
    assert lm.Selection(once, (moved,), "a place").set(q).term == other.term


def test_the_terms_of_the_laws_have_all_nodes():
    assert {type(place.term) for place in places(deep.term)} >= {Compose, Branch, Named}


def test_constants_are_parts_too():
    model = f >> lm.branch(g, lm.const(1.0)) >> lm.pick(0)
    for i in range(len(model) + 1):
        assert (model[:i] >> model[i:]).address == model.address
    assert lm.replace(model, {"branch/0": h}).address == (f >> h).address


def test_a_thousand_parts_are_cut_in_time():
    model = lm.compose(*[f, relu] * 500)
    assert len(model[1:-1]) == 998
    assert len(lm.select(model, jax.nn.relu).remove()) == 500


@pytest.mark.parametrize(
    "change",
    [
        lambda m: lm.freeze(m, "nothing"),
        lambda m: lm.select(m, "nothing").apply(lm.freeze),
        lambda m: lm.select(m, "nothing").insert(before=lm.identity),
        lambda m: lm.select(m, "nothing").remove(),
    ],
)
def test_changing_what_is_not_there_is_refused(change):
    with pytest.raises(lm.MissingError, match="'nothing'"):
        change(dense(4, 4, 0, "f"))


def test_what_declares_more_than_it_is_given_is_cut_and_grafted_as_it_is_given():
    two = lm.identity.init(jax.random.key(0), "float32[2]")
    each = lm.vmap(lm.lift(jnp.tanh, input="float32[]"))
    model = lm.lift(jnp.sin, input="float32[2]") >> lm.named(
        lm.add(lm.const(jnp.ones(2)), two >> each), "sum"
    )
    sine = lm.lift(jnp.sin)
    assert lm.graft(model, sine, "sum").term == (model[0] >> sine >> model[1]).term
    assert rebuild(model.term, model.environment, model.input).address == model.address
    with pytest.raises(lm.MismatchError, match="add joins what is of one type"):
        lm.graft(model, lm.lift(lambda x: x[:1]), "sum")


def test_surgery_keeps_the_type_of_the_model():
    two = lm.identity.init(jax.random.key(0), "int32[2]")
    model = two >> lm.vmap(lm.lift(jnp.negative, input="int32[]"))
    changed = lm.select(model, jnp.negative).insert(before=lm.identity)
    assert repr(changed) == repr(model) and changed.address == model.address
    wider = lm.select(f >> relu, "relu").set(lm.lift(jnp.tanh))
    assert repr(wider).endswith(": float32[b, 4] -> float32[b, 4]>")
