"""Text, letter by letter, out of a deployed iteration: a small language model of real news.

The model counts which letter follows which two. Its state is those two letters, a key, and how many
letters there have been; a step draws the next letter, and a full stop ends a sentence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import data
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lamda as lm
import serve
from serve.handler import Handler

LETTERS = " abcdefghijklmnopqrstuvwxyz."
STOP = LETTERS.index(".")
STATE = {"key": "uint32[2]", "last": "int32[2]", "length": "int32[]"}


def indices(text: str) -> np.ndarray:
    """The letters of a text as numbers; all that is no letter is one space."""
    found = "".join(c if c in LETTERS else " " for c in text.lower())
    return np.array([LETTERS.index(c) for c in " ".join(found.split())], np.int32)


def trained() -> np.ndarray:
    """The logarithm of how often a letter follows two others: float32[28, 28, 28]."""
    counts = np.full((len(LETTERS),) * 3, 1e-3)
    for text in data.bbc().texts:
        found = indices(text)
        np.add.at(counts, (found[:-2], found[1:-1], found[2:]), 1)
    return np.log(counts / counts.sum(-1, keepdims=True)).astype(np.float32)


def write(logits: jax.Array, state: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """One letter more."""
    key, now = jax.random.split(jax.random.wrap_key_data(state["key"]))
    first, second = state["last"]
    letter = jax.random.categorical(now, logits[first, second]).astype(jnp.int32)
    last = jnp.stack([second, letter])
    return {"key": jax.random.key_data(key), "last": last, "length": state["length"] + 1}


def prompt(text: str, seed: int) -> dict[str, Any]:
    """The state before the first letter that is drawn, as JSON values."""
    key = jax.random.key_data(jax.random.key(seed))
    return {"key": key.tolist(), "last": indices(text)[-2:].tolist(), "length": 0}


@pytest.fixture(scope="module")
def sentence() -> lm.Model:
    step = lm.lift(write, trained(), input=STATE, name="write")
    over = lm.lift(lambda s: (s["last"][1] == STOP) | (s["length"] >= 400), name="over")
    return lm.iterate(step, until=over)


@pytest.fixture(scope="module")
def bundle(sentence: lm.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sentence")
    assert lm.bundle(sentence, directory, name="sentence").compiled == 3
    return directory


def request(state: Any, n: int | None = None) -> bytes:
    return json.dumps({"state": state, "n": n}).encode()


def text(states: list[Any]) -> str:
    return "".join(LETTERS[one["state"]["last"][1]] for one in states)


def test_it_writes_until_the_sentence_is_over(handler: Handler) -> None:
    *states, last = map(json.loads, handler.stream(request(prompt("th", 7))))
    found = text(states)
    assert last == {"done": True}
    assert found.endswith(".") and found.count(".") == 1
    assert [one["state"]["length"] for one in states] == list(range(1, len(found) + 1))
    # The letters of English, in words of the length of English.
    words = "".join(text(list(map(json.loads, handler.stream(request(prompt("th", seed)))))[:-1])
                    for seed in range(20)).split()  # fmt: skip
    assert 3 < np.mean(list(map(len, words))) < 8
    assert len({"the", "to", "of", "in", "a", "and"} & set(words)) >= 3


def test_the_last_state_is_the_answer_of_the_whole(handler: Handler, sentence: lm.Model) -> None:
    start = prompt("th", 3)
    *states, _ = map(json.loads, handler.stream(request(start)))
    assert states[-1]["state"] == json.loads(handler(json.dumps(start).encode()))
    state = {
        "key": jnp.array(start["key"], jnp.uint32),
        "last": jnp.array(start["last"], jnp.int32),
        "length": jnp.int32(0),
    }
    assert jax.tree.map(lambda a: a.tolist(), sentence(state)) == states[-1]["state"]


def test_another_instance_goes_on(bundle: Path, handler: Handler) -> None:
    whole = list(handler.stream(request(prompt("th", 5))))
    *first, last = map(json.loads, handler.stream(request(prompt("th", 5), 10)))
    assert (len(first), last) == (10, {"done": False})
    other = serve.load(bundle)
    assert list(other.stream(request(first[-1]["state"]))) == whole[10:]
    other.engine.close()
