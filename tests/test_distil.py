"""Distillation: a student is fitted to what a teacher gives."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bags import WIDTH, news
from parts import dense, rows

import lamda as lm
from lamda.fit import features
from lamda.fit.distil import _outputs
from lamda.fit.soft import Softened, cross_entropy
from lamda.testing.observe import traced

KEY = jax.random.key(0)
teacher = dense(4, 16, 0, "wide") >> lm.lift(jnp.tanh) >> dense(16, 3, 1, "logits")
student = dense(4, 3, 2, "student", b="n")
x = rows(100, 4)
labels = jnp.argmax(teacher(x), -1)


def run(s=student, data=x, t=teacher, **changes):
    given = {"optimizer": optax.adam(0.05), "steps": 200, "batch": 100, "key": KEY}
    return lm.distil(t, s, data, progress=False, **(given | changes))


def squared(y, target):
    return ((y - target) ** 2).sum(-1)


def test_the_default_loss_is_that_of_the_paper():
    temperature = 3.0
    y, z = np.asarray(rows(5, 3)), np.asarray(rows(5, 3, 1))

    def softmax(v):
        return np.exp(v / temperature) / np.exp(v / temperature).sum(-1, keepdims=True)

    wanted = -(temperature**2) * (softmax(z) * np.log(softmax(y))).sum(-1)
    np.testing.assert_allclose(Softened(temperature)(y, z), wanted, rtol=1e-5)
    # And its gradient, section 2.1: T (q - p), which is near to y - z over the classes.
    gradient = jax.grad(lambda y: Softened(temperature)(y, z).sum())(y)
    np.testing.assert_allclose(gradient, temperature * (softmax(y) - softmax(z)), atol=1e-5)


def test_it_is_fit_to_what_the_teacher_gives():
    ours = run(temperature=2.0, steps=7, batch=8)
    by_hand = lm.fit(
        student, (x, teacher(x)), loss=Softened(2.0), optimizer=optax.adam(0.05), steps=7,
        batch=8, key=KEY, progress=False,
    )  # fmt: skip
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(by_hand), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert lm.pred(ours) is student
    assert ours.receipt is not None
    assert ours.receipt.model == student.address


def test_the_student_becomes_like_the_teacher():
    loss = Softened(1.0)
    before, after = (float(loss(m(x), teacher(x)).mean()) for m in (student, run()))
    least = float(loss(teacher(x), teacher(x)).mean())
    assert after - least < (before - least) / 10
    assert float((jnp.argmax(run()(x), -1) == labels).mean()) > 0.8


def test_the_receipt_covers_what_the_teacher_gave():
    other = lm.succ(teacher, jax.tree.map(lambda w: w * 1.1, teacher.weights))
    one, again, changed = run(steps=2), run(steps=2), run(t=other, steps=2)
    assert one.address == again.address
    assert one.receipt == again.receipt
    assert one.receipt.data != changed.receipt.data
    assert one.receipt.model == changed.receipt.model


def test_the_teacher_runs_once_over_the_data_for_all_students(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMDA_CACHE", str(tmp_path))
    features.forget()
    seen = []
    computed = features._computed

    def counted(run, examples, shown):
        seen.append(examples.count)
        return computed(run, examples, shown)

    monkeypatch.setattr(features, "_computed", counted)
    given = rows(150, 4)
    run(data=given, steps=20, batch=10)
    run(data=given, steps=20, batch=10, temperature=3.0)
    assert seen == [150]


def test_the_teacher_is_compiled_once():
    given = rows(150, 4)
    _outputs(teacher, student, given)
    new = lm.succ(teacher, jax.tree.map(lambda w: w * 2, teacher.weights))
    with traced() as seen:
        outputs = _outputs(new, student, given)
    assert not [each for each in seen if "compile" in each]
    np.testing.assert_allclose(outputs, new(given), rtol=1e-5, atol=1e-6)


def test_any_number_of_examples_is_run_in_chunks():
    for count in (1, 31, 32, 33, 130):
        given = rows(count, 4)
        np.testing.assert_allclose(
            _outputs(teacher, student, given), teacher(given), rtol=1e-5, atol=1e-6
        )


def test_labels_are_mixed_in():
    wrong = (labels + 1) % 3

    def accuracy(model, wanted):
        return float((jnp.argmax(model(x), -1) == wanted).mean())

    hard = run(data=(x, wrong), alpha=1.0)
    soft = run(data=(x, wrong), alpha=0.01)
    assert accuracy(hard, wrong) > 0.8 > accuracy(soft, wrong)
    assert accuracy(soft, labels) > 0.8 > accuracy(hard, labels)


def test_the_mixture_is_of_the_two_losses():
    hand = lm.fit(
        student, (x, (teacher(x), labels)), optimizer=optax.adam(0.05), steps=5, batch=16, key=KEY,
        loss=lambda y, t: 0.75 * Softened(2.0)(y, t[0])
        + 0.25 * optax.softmax_cross_entropy_with_integer_labels(y, t[1]),
        progress=False,
    )  # fmt: skip
    ours = run(data=(x, labels), alpha=0.25, temperature=2.0, steps=5, batch=16)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(hand), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_held_out_data_is_of_the_same_form():
    held = rows(40, 4, 9)
    seen = []
    one = run(eval=held, every=5, steps=10, callbacks=[seen.append])
    wanted = float(Softened(1.0)(one(held), teacher(held)).mean())
    np.testing.assert_allclose(seen[-1].eval, wanted, rtol=1e-5)
    labelled = held, jnp.argmax(teacher(held), -1)
    run(data=(x, labels), alpha=0.5, eval=labelled, steps=10, every=5, callbacks=[seen.append])
    soft, hard = Softened(1.0), cross_entropy
    other = run(data=(x, labels), alpha=0.5, steps=10)
    wanted = (soft(other(held), teacher(held)) + hard(other(held), labelled[1])).mean() / 2
    np.testing.assert_allclose(seen[-1].eval, wanted, rtol=1e-5)


def test_a_data_set_has_inputs_and_labels():
    data = lm.DataSet.of(np.asarray(x), np.asarray(labels))
    assert run(data=data, steps=3).address == run(steps=3).address
    mixed = {"alpha": 0.5, "steps": 3}
    assert run(data=data, **mixed).address == run(data=(x, labels), **mixed).address


def test_any_loss_on_any_output():
    pair = dense(4, 3, 0, "a") & dense(4, 2, 1, "b")
    small = dense(4, 3, 4, "a") & dense(4, 2, 5, "b")
    fitted = run(small, t=pair, loss=lambda y, t: squared(y[0], t[0]) + squared(y[1], t[1]))
    for got, wanted in zip(fitted(x), pair(x), strict=True):
        assert float(jnp.abs(got - wanted).max()) < 0.1
    told = run(data=(x, jnp.ones((100, 3))), alpha=1.0, loss=squared, label_loss=squared, steps=300)
    assert float(jnp.abs(told(x) - 1).max()) < 0.3


def test_logits_of_other_dtypes_and_names_are_one():
    low = lm.cast(teacher, "bfloat16") >> lm.lift(lambda y: y.astype("bfloat16"), name="low")
    assert low.output.dtype == "bfloat16"
    assert run(t=low, steps=2).weights["kernel"].dtype == "float32"


def test_dropout_of_the_teacher_is_off():
    from flax import linen

    class Noisy(linen.Module):
        @linen.compact
        def __call__(self, v):
            return linen.Dropout(0.5, deterministic=not self.has_rng("dropout"))(linen.Dense(3)(v))

    noisy = lm.lift(Noisy()).init(KEY, "float32[b, 4]")
    assert run(t=noisy, steps=2).receipt == run(t=noisy, steps=2).receipt


def test_a_teacher_of_one_size_is_given_all():
    fixed = dense(4, 3, 1, "fixed", b="100")
    assert run(t=fixed, steps=2).receipt.data == run(t=fixed, steps=3).receipt.data


def test_inputs_may_be_a_tree():
    both = lm.lift(lambda v: v["a"] + v["b"], input={"a": "float32[b, 4]", "b": "float32[b, 4]"})
    given = {"a": x, "b": x}
    fitted = run(both >> student, given, both >> teacher)
    assert float((jnp.argmax(fitted(given), -1) == jnp.argmax(teacher(2 * x), -1)).mean()) > 0.8


def test_news_are_told_apart_without_a_label():
    (texts, topics), (others, wanted) = news()
    few = np.concatenate([np.flatnonzero(topics == k)[:5] for k in range(5)])
    wide = scaled(WIDTH, 32, 0) >> lm.lift(jnp.tanh) >> scaled(32, 5, 1)
    narrow = scaled(WIDTH, 4, 2) >> lm.lift(jnp.tanh) >> scaled(4, 5, 3)
    how = {"optimizer": optax.adam(0.01), "steps": 80, "key": KEY, "progress": False}

    def right(model):
        return float((jnp.argmax(model(others), -1) == wanted).mean())

    big = lm.fit(wide, (texts, topics), loss=cross_entropy, batch=50, **how)
    alone = lm.fit(narrow, (texts[few], topics[few]), loss=cross_entropy, batch=25, **how)
    small = lm.distil(big, narrow, texts, batch=50, **how)
    assert right(big) > 0.9
    assert right(small) > 0.85 > 0.75 > right(alone)


def scaled(inputs, outputs, seed):
    """A part whose weights are of the size that its inputs ask for."""
    part = dense(inputs, outputs, seed)
    weights = jax.tree.map(lambda w: w / inputs**0.5, part.weights)
    return lm.succ(part, weights)


# --- what is refused ---


def test_other_inputs_are_refused():
    other = dense(5, 3, 1, "other")
    with pytest.raises(lm.MismatchError) as error:
        run(t=other)
    assert str(error.value) == (
        "teacher and student read the same inputs:\n"
        "  other takes float32[b, 5]\n"
        f"      made at {other.where}\n"
        "  student takes float32[n, 4]\n"
        f"      made at {student.where}\n"
        "  axis 1: 5 is not 4\n"
        "Put a part before one of them that turns one into the other."
    )


@pytest.mark.parametrize("outputs", [dense(4, 2, 0, "two"), dense(4, 3, 0) & dense(4, 3, 1)])
def test_what_are_no_logits_needs_a_loss(outputs):
    with pytest.raises(lm.MismatchError, match="the loss of soft targets is of logits, one array"):
        run(t=outputs)


def test_a_teacher_gives_a_row_for_each_example():
    whole = teacher >> lm.lift(lambda y: y.sum(0), name="sum")
    with pytest.raises(lm.SpecError, match="must give a row for each example, and for 1 it"):
        run(t=whole, loss=squared)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": (x, labels)}, r"where alpha= says that labels count. Got \(float32\[100, 4\], i"),
        ({"data": x[:, :3]}, r"take, float32\[n, 4\], with an example in each row; .* Got float32"),
        ({"data": x[:0]}, r"with an example in each row"),
        ({"data": x, "alpha": 0.5}, r"with alpha= above 0 data is \(inputs, labels\), or a data"),
        ({"data": (x, labels[:3]), "alpha": 0.5}, "with the same first axis"),
        ({"alpha": 2}, "alpha is a number from 0 to 1, got 2"),
        ({"alpha": "half"}, "alpha is a number from 0 to 1, got 'half'"),
        ({"temperature": 0}, "temperature is a number above 0, got 0"),
        ({"temperature": float("nan")}, "temperature is a number above 0, got nan"),
        ({"temperature": 2, "loss": squared}, "temperature= is of the default loss"),
        ({"label_loss": squared}, "label_loss= is of labels"),
        ({"t": 3}, "distil takes models, and got 3"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(errors(changes), match=message):
        run(**changes)


def errors(changes):
    """What is raised: data of another type is a mismatch."""
    typed = "data" in changes and "alpha" not in changes
    return lm.MismatchError if typed else lm.SpecError
