"""Training as a pure function."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parts import dense, rows

import lamda as lm

KEY = jax.random.key(0)


def squared(y, target):
    return ((y - target) ** 2).sum(-1)


def run(model, data, **changes):
    given = {"loss": squared, "optimizer": optax.sgd(0.05), "steps": 20, "batch": 8, "key": KEY}
    return lm.fit(model, data, progress=False, **(given | changes))


body, head = dense(4, 8, 0, "body"), dense(8, 2, 1, "head")
inputs = rows(30, 4)
targets = rows(30, 2, 1)


def reference(weights, steps, batch):
    """The same training by hand, with the whole model at every step."""
    import optax

    def loss(head_weights, x, t):
        y = (x @ weights["body"]["kernel"] + weights["body"]["bias"]) @ head_weights["kernel"]
        return squared(y + head_weights["bias"], t).mean()

    order = np.concatenate(
        [jax.random.permutation(jax.random.fold_in(KEY, e), 30) for e in range(10)]
    )
    optimiser = optax.sgd(0.05)
    now, state = weights["head"], optimiser.init(weights["head"])
    for step in range(steps):
        chosen = order[step * batch : (step + 1) * batch]
        gradient = jax.grad(loss)(now, inputs[chosen], targets[chosen])
        updates, state = optimiser.update(gradient, state)
        now = optax.apply_updates(now, updates)
    return now


def test_fit_is_the_loop_that_one_would_write():
    model = lm.freeze(body) >> head
    fitted = run(model, (inputs, targets))
    by_hand = reference({"body": body.weights, "head": head.weights}, 20, 8)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(
            fitted.weights["head"][name], by_hand[name], rtol=1e-5, atol=1e-6
        )


def test_frozen_parts_stay_and_the_model_too():
    model = lm.freeze(body) >> head
    before = model.address
    fitted = run(model, (inputs, targets))
    np.testing.assert_array_equal(fitted.frozen["body"]["kernel"], body.weights["kernel"])
    assert model.address == before
    assert lm.pred(fitted) is model


def test_all_weights_are_trained_where_none_is_frozen():
    model = lm.branch(z=body >> head, a=body >> dense(8, 2, 2, "other"))
    fitted = run(model, (inputs, targets), loss=lambda y, t: squared(y["z"], t))
    assert not np.array_equal(fitted.weights["z"]["body"]["kernel"], body.weights["kernel"])
    other = model.weights["a"]["other"]["kernel"]
    np.testing.assert_array_equal(fitted.weights["a"]["other"]["kernel"], other)


def test_parts_made_separately_part_and_tied_ones_do_not():
    zeros = {"kernel": jnp.zeros((8, 2)), "bias": jnp.zeros(2)}

    def part():
        return lm.lift(lambda w, x: x @ w["kernel"] + w["bias"], zeros, input="float32[b, 8]")

    one, two = part(), part()
    loss = lambda y, t: squared(y[0], t) + squared(y[1], -t)  # noqa: E731
    parted = run(lm.freeze(body) >> (one & two), (inputs, targets), loss=loss)(inputs)
    assert float(jnp.abs(parted[0] - parted[1]).max()) > 0.1
    tied = run(lm.freeze(body) >> (one & one), (inputs, targets), loss=loss)(inputs)
    np.testing.assert_array_equal(tied[0], tied[1])


def test_the_frozen_part_runs_once_for_each_example():
    text = str(jax.make_jaxpr(lambda x: run_step(x))(inputs))
    assert text.count("dot_general") == 3  # the head, and its two gradients: nothing of the body


def run_step(x):
    from lamda import evaluate
    from lamda.fit.frontier import cut

    model = lm.freeze(body) >> head
    _, back = cut(model.program)

    def loss(weights, features):
        arrays = [model.place(weights)[slot].arrays for slot in back.slots]
        return evaluate.run(back, arrays, (features,)).sum()

    return jax.grad(loss, argnums=(0, 1))(model.weights, jnp.ones((3, 8)))


def test_same_inputs_same_address_in_another_process():
    code = (
        "import test_fit as t;"
        "print(t.run(t.lm.freeze(t.body) >> t.head, (t.inputs, t.targets)).address)"
    )
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                           cwd=__file__.rpartition("/")[0]).stdout.strip()  # fmt: skip
    assert there == run(lm.freeze(body) >> head, (inputs, targets)).address


def test_the_receipt_names_the_inputs():
    model = lm.freeze(body) >> head
    one, again = run(model, (inputs, targets)), run(model, (inputs, targets))
    assert one.receipt == again.receipt
    assert one.receipt.model == model.address
    changes = {
        "data": run(model, (inputs, targets + 1)),
        "optimizer": run(model, (inputs, targets), optimizer=optax.adam(0.05)),
        "loss": run(model, (inputs, targets), loss=lambda y, t: 2 * squared(y, t)),
        "model": run(lm.freeze(body) >> dense(8, 2, 2, "head"), (inputs, targets)),
        "key": run(model, (inputs, targets), key=jax.random.key(1)),
        "steps": run(model, (inputs, targets), steps=21),
    }
    for name, other in changes.items():
        assert getattr(one.receipt, name) != getattr(other.receipt, name), name
        assert one.receipt.address != other.receipt.address
        kept = {"model", "data", "loss", "optimizer", "key", "steps"} - {name}
        assert all(getattr(one.receipt, k) == getattr(other.receipt, k) for k in kept), name
    assert lm.Receipt.from_json(one.receipt.to_json()) == one.receipt


def test_a_loss_that_is_not_finite_stops():
    with pytest.raises(
        FloatingPointError, match="the loss is (inf|nan) at step [0-9]+, whose examples are sha256:"
    ):
        run(lm.freeze(body) >> head, (inputs, targets * 1e30), optimizer=optax.sgd(1e30))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: run(m, inputs), "data is .inputs, targets."),
        (lambda m: run(m, (inputs, targets[:3])), "with the same first axis; got"),
        (lambda m: run(m, (inputs, targets), steps=0), "steps is a whole number from 1, got 0"),
        (lambda m: run(m, (inputs, targets), batch=1.5), "batch is a whole number from 1, got 1.5"),
        (lambda m: run(lm.freeze(m), (inputs, targets)), "has nothing to train"),
        (lambda m: run(m, (inputs, targets), loss=lambda y, t: y > t), "must give one number"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(lm.SpecError, match=message):
        call(body >> head)


def test_inputs_of_another_type_are_refused():
    with pytest.raises(lm.MismatchError, match="body takes float32.b, 4., and was given float32"):
        run(body >> head, (rows(30, 5), targets))
