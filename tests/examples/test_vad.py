"""The detector against onnxruntime's, and against people; and what is deployed of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_weights
import pytest
import vad

import lamda as lm
import serve
from serve.handler import Handler

REFERENCE = json.loads(Path(__file__).with_name("vad_reference.json").read_text("utf-8"))
BOUND = 1e-5
"""How far a probability may be from onnxruntime's after half a minute of remembering."""


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return vad.chunks(vad.recording())


@pytest.fixture(scope="module")
def detector() -> lm.Model:
    return vad.detector(vad.load(vad.model_file()))


@pytest.fixture(scope="module")
def bundle(detector: lm.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vad")
    lm.bundle(detector, directory, name="vad", n=(1, 32))
    return directory


def silence() -> dict[str, Any]:
    return jax.tree.map(lambda _: None, vad.STATE) | {
        name: jnp.zeros(int(re.findall(r"\d+", type)[-1])) for name, type in vad.STATE.items()
    }


def streamed(handler: Handler, request: Iterator[bytes]) -> tuple[Any, np.ndarray]:
    """The last state and the probabilities that a stream gives."""
    *answers, last = map(json.loads, handler.stream(request))
    return last["state"], np.concatenate([answer["ys"] for answer in answers])


def test_outputs_equal_the_reference(detector: lm.Model, sound: np.ndarray) -> None:
    state, found = detector((silence(), jnp.asarray(sound)))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, REFERENCE["probabilities"], rtol=0, atol=BOUND)
    for name in ("h", "c"):
        np.testing.assert_allclose(state[name], REFERENCE[name], rtol=0, atol=10 * BOUND)
    np.testing.assert_array_equal(state["context"], sound[-1][-vad.CONTEXT :])


def test_it_hears_what_people_heard() -> None:
    """The turns that the recording's own transcript has, to a tenth of a second."""
    speech = np.array(REFERENCE["probabilities"]) > 0.5
    times = np.arange(len(speech)) * vad.CHUNK / vad.RATE
    assert not speech[times < 6.6].any()
    assert speech[(times > 6.79) & (times < 7.02)].all()
    assert not speech[(times > 7.22) & (times < 7.45)].any()
    assert speech[times > 8.4].mean() > 0.95


def test_the_stream_is_the_whole(handler: Handler, sound: np.ndarray) -> None:
    state, found = streamed(handler, vad.lines(sound))
    np.testing.assert_allclose(found, REFERENCE["probabilities"], rtol=0, atol=BOUND)
    body = json.dumps([jax.tree.map(lambda a: a.tolist(), silence()), sound.tolist()]).encode()
    whole_state, whole = json.loads(handler(body))
    np.testing.assert_allclose(found, whole, rtol=0, atol=BOUND)
    np.testing.assert_allclose(state["h"], whole_state["h"], rtol=0, atol=10 * BOUND)


def test_another_instance_goes_on(bundle: Path, handler: Handler, sound: np.ndarray) -> None:
    other = serve.load(bundle)
    together, cut = list(handler.stream(vad.lines(sound[:300]))), 217
    state, _ = streamed(handler, vad.lines(sound[:cut]))
    rest = list(other.stream(vad.lines(sound[cut:300], state)))
    assert rest == together[cut:]
    other.engine.close()


def test_silence_is_no_speech(handler: Handler) -> None:
    _, found = streamed(handler, vad.lines(np.zeros((40, vad.CHUNK), np.float32)))
    assert found.max() < 0.1


def test_the_example_prints_a_line_a_chunk(capsys: pytest.CaptureFixture[str]) -> None:
    vad.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "speech in 74% of 30.0 s"
    assert len(lines) == len(REFERENCE["probabilities"])
    found = [float(line.split()[2]) for line in lines]
    np.testing.assert_allclose(found, REFERENCE["probabilities"], rtol=0, atol=0.00051)


def test_a_file_that_is_no_model_is_refused() -> None:
    good = vad.model_file()
    assert sum(w.size for w in onnx_weights.weights(good).values()) == 309_633
    for bad in (b"", good[:-1], good[:1000], b"\xff" * 100, b"PK\x03\x04" * 30):
        with pytest.raises(ValueError, match="expected"):
            onnx_weights.weights(bad)
