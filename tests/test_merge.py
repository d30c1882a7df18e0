"""Merging: what other lineages changed is replayed on a model."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bags import WIDTH, news
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import dense, rows

import lamda as lm
from examples import naturals
from lamda.fit.soft import cross_entropy

ZERO = lm.lift(lambda n, x: x + n, jnp.float32(0), input="float32[]", name="ZERO")
ONE = jnp.ones((), jnp.float32)


def number(n, zero=ZERO):
    return zero if n == 0 else naturals.succ(number(n - 1, zero))


def vector(values, dtype="float32", name="f"):
    weights = jnp.asarray(values, dtype)
    return lm.lift(lambda w, x: x * w, weights, input=f"{dtype}[{len(values)}]", name=name)


def changed(model, seed, size=0.1):
    """A successor with a little added to every weight."""
    leaves, tree = jax.tree.flatten(model.weights)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    new = [
        w + (size * jax.random.normal(k, w.shape)).astype(w.dtype)
        for w, k in zip(leaves, keys, strict=True)
    ]
    return lm.succ(model, jax.tree.unflatten(tree, new))


base = dense(4, 8, 0, "body") >> dense(8, 2, 1, "head")
left, right, third = (changed(base, seed) for seed in (1, 2, 3))


# --- what it is ---


def test_it_is_the_sum_of_what_was_changed():
    merged = lm.merge(left, right, third, scale=[0.5, -2])
    for w, a, b, c, got in zip(
        *(jax.tree.leaves(m.weights) for m in (base, left, right, third, merged)), strict=True
    ):
        w, a, b, c = (np.asarray(v, np.float64) for v in (w, a, b, c))
        wanted = (a + 0.5 * (b - w) - 2 * (c - w)).astype(np.float32)
        np.testing.assert_array_max_ulp(np.asarray(got), wanted, 1)


def test_the_result_is_the_successor_of_the_model():
    before = [m.address for m in (base, left, right)]
    merged = lm.merge(left, right)
    assert lm.pred(merged) is left
    assert merged.program == left.program
    assert merged.receipt is None
    assert [m.address for m in (base, left, right)] == before


def test_numerals_add():
    for m, n in ((0, 0), (0, 3), (2, 0), (2, 3), (4, 1)):
        merged = lm.merge(number(m), number(n), base=ZERO)
        assert lm.who(merged) == lm.who(number(m + n))
        assert lm.who(merged) == lm.who(naturals.add(number(m), number(n)))


def test_what_lineages_share_is_not_counted_twice():
    # One lineage goes on from the other: the later number is all that both changed.
    for m, n in ((0, 3), (2, 3), (4, 1), (2, 2)):
        assert lm.who(lm.merge(number(m), number(n))) == lm.who(number(max(m, n)))
    two = number(2)
    assert lm.who(lm.merge(naturals.succ(two), lm.succ(two, ONE * 7))) == lm.who(number(8))


def test_a_change_is_taken_back():
    forgot = lm.merge(left, left, base=base, scale=-1)
    for w, got in zip(*(jax.tree.leaves(m.weights) for m in (base, forgot)), strict=True):
        np.testing.assert_allclose(got, w, atol=1e-6)
    assert lm.merge(number(5), number(3), base=ZERO, scale=-1).weights.item() == 2


# --- its laws ---


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_units_hold_to_the_bit(dtype):
    first = vector([1e-3, 3.0, -0.0, 7.0, 1e-30], dtype)
    later = lm.succ(first, jnp.asarray([1e4, 1 / 3, 0.0, -0.0, 2e-30], dtype))
    assert lm.merge(first, later).address == later.address
    assert lm.merge(later, first).address == later.address
    assert lm.merge(later, later).address == later.address
    assert lm.merge(later).address == later.address
    assert lm.merge(later, later, base=first, scale=0).address == later.address


def test_float64_is_exact_at_the_units():
    with jax.enable_x64(True):
        first = vector([1e-300, 0.1, 3.0], "float64")
        one = lm.succ(first, jnp.asarray([1e300, 0.1, 3.0], "float64"))
        two = lm.succ(first, jnp.asarray([1e-300, 0.7, 4.0], "float64"))
        merged = lm.merge(one, two)
        assert lm.merge(first, one).address == one.address
        assert merged.weights.tolist() == [1e300, 0.7, 4.0]
        assert merged.weights.dtype == "float64"


def test_two_commute_in_address():
    assert lm.merge(left, right).address == lm.merge(right, left).address


def test_three_commute_within_ulps():
    orders = [(left, right, third), (third, left, right), (right, third, left)]
    one, *others = (lm.merge(*order) for order in orders)
    for other in others:
        for a, b in zip(*(jax.tree.leaves(m.weights) for m in (one, other)), strict=True):
            np.testing.assert_array_max_ulp(np.asarray(a), np.asarray(b), 1)


finite = st.floats(-(2.0**60), 2.0**60, width=32)


@settings(max_examples=60)
@given(st.lists(st.tuples(finite, finite, finite), min_size=4, max_size=4))
def test_laws_hold_of_any_numbers(numbers):
    start, one, two = (jnp.asarray(column, "float32") for column in zip(*numbers, strict=True))
    first = vector(start)
    a, b = lm.succ(first, one), lm.succ(first, two)
    assert lm.merge(first, a).address == a.address == lm.merge(a, first).address
    merged = lm.merge(a, b, base=first)
    assert merged.address == lm.merge(b, a, base=first).address
    with np.errstate(over="ignore"):
        wide = [np.asarray(v, np.float64) for v in (start, one, two)]
        wanted = (wide[1] + (wide[2] - wide[0])).astype(np.float32)
    largest = max(np.abs(v).max() for v in wide)
    np.testing.assert_allclose(merged.weights, wanted, rtol=1e-6, atol=1e-7 * largest)


def test_what_one_alone_changed_is_as_it_is_there():
    first = vector([1.0, -jnp.inf, 1e8, 0.3])
    one = lm.succ(first, jnp.float32([1e-8, -jnp.inf, 1e8, 0.3]))
    two = lm.succ(first, jnp.float32([1.0, -jnp.inf, 1e-8, 0.3]))
    wanted = jnp.float32([1e-8, -jnp.inf, 1e-8, 0.3])
    np.testing.assert_array_equal(lm.merge(one, two).weights, wanted)


def test_bfloat16_is_rounded_once():
    # In bfloat16 alone 256 + 1 is 256, and so would be 256 + 1 + 1.
    first = vector([256.0], "bfloat16")
    wide = [lm.succ(first, jnp.asarray([v], "bfloat16")) for v in (258, 262, 244)]
    merged = lm.merge(wide[0], *wide[1:], scale=[0.5, 0.25])  # 258 + 3 - 3
    assert merged.weights.dtype == "bfloat16"
    assert merged.weights.tolist() == [258.0]


def test_long_tensors_are_added_piece_by_piece():
    count = (1 << 16) + 3
    first = vector(np.zeros(count))
    one, two = (lm.succ(first, jnp.arange(count, dtype="float32") * k) for k in (1, 2))
    wanted = np.arange(count, dtype="float32") * 3
    np.testing.assert_array_equal(lm.merge(one, two, base=first).weights, wanted)


# --- lineages ---


def test_the_base_is_the_latest_common_predecessor():
    later = changed(left, 4)
    one, two = changed(later, 5), changed(changed(later, 6), 7)
    assert lm.merge(one, two).address == lm.merge(one, two, base=later).address
    assert lm.merge(one, two).address != lm.merge(one, two, base=base).address
    three = changed(left, 8)
    assert lm.merge(one, two, three).address == lm.merge(one, two, three, base=left).address


def test_lineages_from_a_store_are_merged(tmp_path):
    store = lm.Store(tmp_path)
    for ref, model in (("left", changed(left, 4)), ("right", right)):
        store.put(model, ref=ref)
    again = lm.Store(tmp_path)
    merged = lm.merge(again.get("left"), again.get("right"))
    assert merged.address == lm.merge(changed(left, 4), right).address
    # What was made here and what was kept are of one structure.
    assert lm.merge(left, again.get("right")).address == lm.merge(left, right).address
    again.put(merged, ref="left")
    assert [v.who for v in again.log("left")][:2] == [merged.address, changed(left, 4).address]


def test_no_more_of_a_lineage_is_read_than_is_needed():
    def gone():
        raise AssertionError("read too far")

    start = base.derive(base.term, base.environment, pred=gone)
    one, two = changed(start, 1), changed(start, 2)
    assert lm.merge(one, two).address == lm.merge(left, right).address


# --- what is merged ---


def test_tied_parts_stay_tied():
    part = dense(4, 4, 0, "part")
    model = part >> part >> dense(4, 4, 1, "other")
    one, two = changed(model, 1), changed(model, 2)
    merged = lm.merge(one, two)
    assert len(merged.tensors()) == 4
    assert merged.program == model.program
    first, last = (merged.term.parts[i].slot for i in (0, 1))
    assert first == last


def test_adapters_of_low_rank_are_weights():
    model = lm.lora(base, 2, key=jax.random.key(0))
    one, two = changed(model, 1), changed(model, 2)
    merged = lm.merge(one, two)
    a, b, c, got = (jax.tree.leaves(m.weights) for m in (model, one, two, merged))
    for w, x, y, z in zip(a, b, c, got, strict=True):
        np.testing.assert_allclose(z, x + y - w, atol=1e-6)
    assert jax.tree.structure(merged.weights) == jax.tree.structure(model.weights)
    np.testing.assert_array_equal(merged.frozen["body"]["base"]["kernel"],
                                  base.weights["body"]["kernel"])  # fmt: skip


def test_frozen_weights_and_whole_numbers_stay():
    weights = {"table": jnp.arange(3, dtype=jnp.int32), "w": jnp.ones(3)}
    model = lm.lift(lambda w, x: x * w["w"] + w["table"].astype("float32"), weights,
                    input="float32[3]", name="f")  # fmt: skip
    whole = lm.freeze(vector([2.0, 2.0, 2.0], name="g")) >> model
    merged = lm.merge(changed(whole, 1), changed(whole, 2))
    assert merged.frozen["f"]["table"].tolist() == [0, 1, 2]
    assert merged.frozen["g"].tolist() == [2, 2, 2]


def test_what_is_frozen_in_one_lineage_and_trained_in_another_is_replayed():
    half = lm.succ(base, lm.freeze(base, "head"))
    got = lm.merge(left, half)
    assert got.address == left.address
    with pytest.raises(lm.SpecError, match="does not train .*: head/bias, head/kernel"):
        lm.merge(half, left)


def test_models_that_were_trained_apart_are_good_at_both():
    x = rows(200, 4)
    model = dense(4, 2, 0, "line")
    kernel = model.weights["kernel"]
    targets = [x @ kernel + jnp.eye(2)[i] * x[:, i : i + 1] for i in (0, 1)]
    both = x @ kernel + x[:, :2]

    def fitted(target):
        return lm.fit(model, (x, target), loss=lambda y, t: ((y - t) ** 2).sum(-1),
                      optimizer=optax.sgd(0.1), steps=200, batch=200, key=jax.random.key(0),
                      progress=False)  # fmt: skip

    one, two = map(fitted, targets)
    error = {m: float(jnp.abs(m(x) - both).max()) for m in (model, one, two, lm.merge(one, two))}
    *alone, merged = error.values()
    assert merged < 1e-3 < min(alone)


def test_news_of_two_lineages_are_told_apart_by_one_model():
    # One lineage learns the topic of a story, the other whether anybody in it is called Mr.
    (texts, topics), (others, wanted) = news()
    mister = texts[:, MISTER] > 0, others[:, MISTER] > 0
    body = dense(WIDTH, 32, 0, "body") >> lm.lift(lambda v: jnp.tanh(v / 32), name="tanh")
    both = body >> lm.branch(topic=dense(32, 5, 1, "topic"), mister=dense(32, 2, 2, "mister"))
    targets = {"topic": topics, "mister": mister[0].astype(np.int32)}

    def learned(start, steps, *names):
        def loss(y, t):
            return sum(cross_entropy(y[name], t[name]) for name in names)

        return lm.fit(start, (texts, targets), loss=loss, optimizer=optax.adam(0.01), steps=steps,
                      batch=100, key=jax.random.key(0), progress=False)  # fmt: skip

    def right(model):
        found = {name: np.argmax(y, -1) for name, y in model(others).items()}
        return np.array([(found["topic"] == wanted).mean(), (found["mister"] == mister[1]).mean()])

    first = learned(both, 5, "topic", "mister")
    topic, called = learned(first, 60, "topic"), learned(first, 60, "mister")
    merged = lm.merge(topic, called)
    assert (right(merged) > right(first) + 0.02).all()
    forgot = lm.merge(merged, called, base=first, scale=-1)
    np.testing.assert_allclose(right(forgot), right(topic), atol=0.01)


MISTER = zlib.crc32(b"mr") % WIDTH
"""Where the word is counted, and whatever has its checksum."""


# --- what is refused ---


def test_strangers_are_refused():
    other = dense(4, 8, 5, "body") >> dense(8, 2, 6, "head")
    with pytest.raises(lm.SuccessionError) as error:
        lm.merge(base, other)
    assert str(error.value) == (
        "body >> head and what is merged into it have no common predecessor: their lineages go "
        f"back to {base.address}, {other.address}. Say the version that they were made from: "
        "merge(..., base=...)."
    )
    assert lm.merge(base, other, base=base).address == other.address


def test_another_structure_is_refused_with_what_differs():
    other = lm.succ(base, base >> lm.lift(jnp.tanh))
    with pytest.raises(lm.MismatchError) as error:
        lm.merge(base, other)
    assert str(error.value).splitlines()[:2] == [
        "body >> head >> tanh can not be merged into body >> head: they are not one but for their "
        "weights:",
        "  term: body >> head -> body >> head >> tanh",
    ]
    assert "+ tanh: tanh, sha256:" in str(error.value)


def test_the_same_parts_in_another_order_are_another_structure():
    f, g = dense(4, 4, 0, "f"), dense(4, 4, 1, "g")
    with pytest.raises(lm.MismatchError, match="term: f >> g -> g >> f"):
        lm.merge(f >> g, g >> f, base=f >> g)


def test_ties_are_structure():
    part, twin = dense(4, 4, 0, "part"), dense(4, 4, 0, "part")
    with pytest.raises(lm.MismatchError, match="can not be merged"):
        lm.merge(part >> part, part >> twin, base=part >> part)


def test_parts_that_compute_something_else_are_refused():
    def part(function):
        return lm.lift(function, jnp.ones(3), input="float32[3]", name="f")

    one, two = part(lambda w, x: w * x), part(lambda w, x: w + x)
    with pytest.raises(lm.MismatchError, match=r"- \(the root\): f, sha256:"):
        lm.merge(one, two, base=one)


def test_frozen_weights_that_differ_are_refused():
    one = lm.freeze(vector([1.0, 2.0], name="f")) >> vector([1.0, 1.0], name="g")
    two = lm.freeze(vector([1.0, 3.0], name="f")) >> vector([1.0, 1.0], name="g")
    with pytest.raises(lm.SpecError) as error:
        lm.merge(one, two, base=one)
    assert str(error.value) == (
        "f >> g does not train what these lineages have different: f. Merging adds changes of "
        "trained weights alone: merge into a model that trains these, or keep them as they were."
    )


@pytest.mark.parametrize("scale", ["much", [1, 2], [], float("nan"), float("inf"), None, 1j])
def test_a_scale_is_a_number_or_one_for_each(scale):
    with pytest.raises(lm.SpecError, match="scale is one finite number, or 1, one for each"):
        lm.merge(left, right, scale=scale)


@pytest.mark.parametrize("values", [[3e38, 1.0], [jnp.nan, 1.0], [jnp.inf, 1.0]])
def test_sums_that_are_not_finite_are_refused(values):
    first = vector([1.0, 1.0])
    one, two = (lm.succ(first, jnp.float32(v)) for v in (values, [3e38, 2.0]))
    with pytest.raises(lm.SpecError, match="the sum of the changes of .the root. is not finite"):
        lm.merge(one, two, base=first)


def test_open_models_and_what_is_no_model_are_refused():
    with pytest.raises(lm.SpecError, match="merge takes models, and got 3"):
        lm.merge(base, 3)  # type: ignore[arg-type]
    with pytest.raises(lm.SpecError, match="merge takes models, and got None"):
        lm.merge(base, None)  # type: ignore[arg-type]
