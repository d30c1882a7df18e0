"""Laws of keeping and running hold of the language, and of handlers as they are deployed."""

import jax.numpy as jnp
import pytest
from hypothesis import settings
from parts import dense

import lamda as lm
from lamda.testing import run
from lamda.testing.crash import watching
from lamda.testing.draw import Subject
from lamda.testing.suites.batch import BATCH, is_rowwise
from lamda.testing.suites.handler import HANDLER, handling
from lamda.testing.suites.store import StoreMachine

TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=3, stateful_step_count=8, deadline=None)

model = dense(4, 8, 0, "f") >> lm.lift(jnp.tanh) >> dense(8, 2, 1, "g")


@pytest.fixture(scope="module")
def compiled():
    return lm.compile(model, batch=(1, 4))


@pytest.mark.parametrize("law", range(len(HANDLER.laws)), ids=lambda i: str(HANDLER.laws[i]))
def test_a_compiled_handler_keeps_the_laws(compiled, law):
    outcome = run(handling(compiled).laws[law], Subject.of(model), examples=5, seed=0)
    assert outcome.error is None, outcome.error


def test_a_mean_over_the_batch_is_no_batch_of_rows():
    mean = lm.lift(lambda x: x - x.mean(axis=0, keepdims=True), input="float32[b, 2]")
    assert is_rowwise(mean)
    outcome = run(BATCH.laws[0], Subject.of(mean), examples=50, seed=0)
    assert "a batch is its rows" in str(outcome.error)


def test_what_was_not_flushed_may_be_lost(tmp_path):
    with watching(tmp_path) as cuts:
        (tmp_path / "a").write_bytes(b"1")
    assert cuts[-1].sure == {}
    assert cuts[-1].possible == {"a": None}
