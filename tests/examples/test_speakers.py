"""A head on the detector's memory: it learns, the detector does not change, and both stream."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import speakers
import vad

import lamda as lm
import serve
from serve.handler import Handler

REFERENCE = json.loads(Path(__file__).with_name("vad_reference.json").read_text("utf-8"))
BOUND = 1e-5
"""As in test_vad.py; a logit is a sum of 128 numbers, and may be ten times as far."""
HEARD = speakers.HEARD

Parts = tuple[lm.Model, lm.Model]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return vad.chunks(vad.recording())


@pytest.fixture(scope="module")
def talks(sound: np.ndarray) -> np.ndarray:
    return speakers.turns(len(sound))


@pytest.fixture(scope="module")
def parts() -> Parts:
    return speakers.parts()


@pytest.fixture(scope="module")
def learned(parts: Parts, sound: np.ndarray, talks: np.ndarray) -> lm.Model:
    return speakers.learn(*parts, sound[:HEARD], talks[:HEARD])


@pytest.fixture(scope="module")
def listener(parts: Parts, learned: lm.Model) -> lm.Model:
    return speakers.listener(parts[0], learned)


@pytest.fixture(scope="module")
def bundle(listener: lm.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("speakers")
    lm.bundle(listener, directory, name="speakers", n=(1, 32))
    return directory


def test_the_turns_are_those_of_the_transcript(talks: np.ndarray) -> None:
    times = (np.arange(len(talks)) + 0.5) * vad.CHUNK / vad.RATE
    assert not talks[times < 6.69].any()
    assert talks[(times > 6.7) & (times < 7.1)].tolist() == [[True, False]] * 13
    assert talks[(times > 14.8) & (times < 17.9), 1].all()
    # They interrupt each other six times, for 1.89 s of the half minute.
    assert abs((talks.sum(1) == 2).sum() * vad.CHUNK / vad.RATE - 1.89) < 0.1


def test_only_the_head_is_trained(parts: Parts, listener: lm.Model) -> None:
    leaves = jax.tree.leaves(listener)
    assert sorted(leaf.shape for leaf in leaves) == [(), (vad.WIDTH,)]
    zero = speakers.listener(*parts)
    one = lm.succ(zero, listener)
    assert lm.pred(one) is zero and lm.who(one) == lm.who(listener) != lm.who(zero)


def test_the_detector_is_as_it_was_published(listener: lm.Model, sound: np.ndarray) -> None:
    state, told = listener((speakers.silence(), jnp.asarray(sound)))
    np.testing.assert_allclose(told["speech"], REFERENCE["probabilities"], rtol=0, atol=BOUND)
    for name in ("h", "c"):
        np.testing.assert_allclose(state[name], REFERENCE[name], rtol=0, atol=10 * BOUND)


def test_it_learns_who_is_who(listener: lm.Model, sound: np.ndarray, talks: np.ndarray) -> None:
    """Better than a coin and than the one who talks most, on sound that it was not trained on."""
    _, told = listener((speakers.silence(), jnp.asarray(sound)))
    alone = talks.sum(1) == 1
    alone[:HEARD] = False
    second = np.asarray(told["second"]) > 0
    share = [np.mean(second[alone & talks[:, k]] == k) for k in (0, 1)]
    assert share[0] > 0.5 and share[1] > 0.8
    most = talks[alone].mean(0).max()
    assert np.mean(second[alone] == talks[alone, 1]) > 0.7 > most


def test_without_labels_there_is_nothing_to_learn(
    parts: Parts, sound: np.ndarray, talks: np.ndarray
) -> None:
    """The same head, told who talks at random, does no better than a coin: nothing leaks."""
    mixed = talks[:HEARD].copy()
    alone = mixed.sum(1) == 1
    mixed[alone] = np.random.RandomState(0).permutation(mixed[alone])
    head = speakers.learn(*parts, sound[:HEARD], mixed)
    _, told = speakers.listener(parts[0], head)((speakers.silence(), jnp.asarray(sound)))
    asked = talks.sum(1) == 1
    asked[:HEARD] = False
    second = np.asarray(told["second"]) > 0
    share = [np.mean(second[asked & talks[:, k]] == k) for k in (0, 1)]
    assert abs(np.mean(share) - 0.5) < 0.15


def test_the_same_inputs_give_the_same_head(
    parts: Parts, learned: lm.Model, sound: np.ndarray, talks: np.ndarray
) -> None:
    again = speakers.learn(*parts, sound[:HEARD], talks[:HEARD])
    assert lm.who(again) == lm.who(learned) != lm.who(parts[1])


def test_the_stream_is_the_whole(handler: Handler, listener: lm.Model, sound: np.ndarray) -> None:
    _, told = listener((speakers.silence(), jnp.asarray(sound[:200])))
    _, second, speech = speakers.stream(handler, vad.lines(sound[:200]))
    np.testing.assert_allclose(second, told["second"], rtol=0, atol=10 * BOUND)
    np.testing.assert_allclose(speech, told["speech"], rtol=0, atol=BOUND)


def test_another_instance_goes_on(bundle: Path, handler: Handler, sound: np.ndarray) -> None:
    cut = 217
    together = speakers.stream(handler, vad.lines(sound[:300]))
    state, *first = speakers.stream(handler, vad.lines(sound[:cut]))
    other = serve.load(bundle)
    last, *rest = speakers.stream(other, vad.lines(sound[cut:300], state))
    other.engine.close()
    assert last == together[0]
    for whole, one, two in zip(together[1:], first, rest, strict=True):
        np.testing.assert_array_equal(np.concatenate([one, two]), whole)


def test_the_example_prints_who_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    speakers.main()
    first, header, *lines, right, most = capsys.readouterr().out.splitlines()
    assert first.startswith("scan(detector >> ")
    assert header.split() == ["heard", "as", "people", "marked", "it"]
    heard, marked = zip(*(line.split()[2:] for line in lines), strict=True)
    both = list(zip("".join(heard), "".join(marked), strict=True))
    assert len(both) == len(REFERENCE["probabilities"]) - HEARD
    assert set("".join(heard)) == set(".AB") and set("".join(marked)) == set(".ABx")
    # In the pause both are silent; in the longest turn it is B.
    assert ("." * 9) in "".join(heard) and ("B" * 150) in "".join(heard)
    share, guess = (float(re.findall(r"\d\.\d+", line)[-1]) for line in (right, most))
    assert share > 0.7 > guess == 0.574
