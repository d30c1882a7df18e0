"""Where is speech? The silero detector on a real recording, one chunk of 32 ms after the other.

    step(weights, (state, float32[512]))  ->  (state, float32[])

https://github.com/snakers4/silero-vad (MIT): the spectrum of each chunk, four convolutions, and an
LSTM that remembers. The state goes in and comes out, so the deployed function holds none, and any
of its instances can go on with any recording.
"""

from __future__ import annotations

import io
import json
import tempfile
import wave
import zipfile
from collections.abc import Iterator
from typing import Any

import data
import jax
import jax.numpy as jnp
import numpy as np
import onnx_weights

import lamda as lm
import serve

Weights = dict[str, Any]
"""A nested dict of arrays."""
State = dict[str, Any]

RATE = 16_000
"""Samples a second."""
CHUNK = 512
CONTEXT = 64
"""Samples of the chunk before that a chunk is read together with."""
BINS = 129
WIDTH = 128
"""Numbers in each of the two vectors that the LSTM remembers."""
STATE = {"c": f"float32[{WIDTH}]", "context": f"float32[{CONTEXT}]", "h": f"float32[{WIDTH}]"}


def step(weights: Weights, given: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
    """`step(weights, (state, chunk))` is the next state, and how likely the chunk has speech.

    chunk: float32[512], 32 ms of sound from -1 to 1. Returns a probability, float32[].
    """
    state, chunk = given
    samples = jnp.concatenate([state["context"], chunk])
    x = _spectrum(weights["basis"], samples)
    for layer, stride in zip(weights["encoder"], (1, 2, 2, 1), strict=True):
        x = jax.nn.relu(_conv(layer["kernel"], x, stride, 1) + layer["bias"][None])
    h, c = _lstm(weights["lstm"], x[0], state["h"], state["c"])
    score = jnp.dot(weights["head"]["kernel"], jax.nn.relu(h)) + weights["head"]["bias"]
    return {"c": c, "context": samples[-CONTEXT:], "h": h}, jax.nn.sigmoid(score)


def load(model: bytes) -> Weights:
    """The weights in `silero_vad_16k_op15.onnx`, under readable names."""
    file = onnx_weights.weights(model)

    def layer(number: int) -> Weights:
        name = f"model.encoder.{number}.reparam_conv"
        return {"kernel": _kernel(file[f"{name}.weight"]), "bias": file[f"{name}.bias"]}

    lstm = {name: file[f"model.decoder.rnn.{name}"] for name in ("weight_ih", "weight_hh")}
    return {
        "basis": _kernel(file["model.stft.forward_basis_buffer"]),
        "encoder": [layer(number) for number in range(4)],
        "lstm": {
            "kernel": np.concatenate([lstm["weight_ih"], lstm["weight_hh"]], axis=1),
            "bias": file["model.decoder.rnn.bias_ih"] + file["model.decoder.rnn.bias_hh"],
        },
        "head": {
            "kernel": file["model.decoder.decoder.2.weight"][0, :, 0],
            "bias": file["model.decoder.decoder.2.bias"][0],
        },
    }


def detector(weights: Weights) -> lm.Model:
    """The model of a whole recording: `(state, float32[n, 512]) -> (state, float32[n])`."""
    return lm.scan(lm.lift(step, weights, input=(STATE, f"float32[{CHUNK}]"), name="vad"))


def recording() -> np.ndarray:
    """Half a minute in which two people talk, float32[480000]; a sample of pyannote.audio (MIT)."""
    with zipfile.ZipFile(data.fetch(data.SPEECH)) as archive:
        file = archive.read("pyannote/audio/sample/sample.wav")
    with wave.open(io.BytesIO(file)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / np.float32(32768)


def chunks(samples: np.ndarray) -> np.ndarray:
    """The samples as float32[n, 512]; a rest that is shorter than a chunk is left out."""
    whole = len(samples) // CHUNK
    return samples[: whole * CHUNK].reshape(whole, CHUNK)


def model_file() -> bytes:
    """The detector as its makers publish it."""
    with zipfile.ZipFile(data.fetch(data.SILERO)) as archive:
        return archive.read("silero_vad/data/silero_vad_16k_op15.onnx")


def lines(sound: np.ndarray, state: Any = None, at_once: int = 1) -> Iterator[bytes]:
    """The request: the state to begin with, and then `at_once` chunks a line."""
    yield json.dumps({"state": state}).encode() + b"\n"
    for start in range(0, len(sound), at_once):
        yield json.dumps({"xs": sound[start : start + at_once].tolist()}).encode() + b"\n"


def _spectrum(basis: jax.Array, samples: jax.Array) -> jax.Array:
    """The strength of each of 129 frequencies in four windows: float32[4, 129]."""
    padded = jnp.pad(samples, (0, CONTEXT), mode="reflect")
    parts = _conv(basis, padded[:, None], 128, 0)
    return jnp.sqrt(parts[:, :BINS] ** 2 + parts[:, BINS:] ** 2)


# Time first and channels last: XLA makes any layout into this one, but for a CPU not inside of a
# loop, where others run four times as long.
LAYOUT = ("NWC", "WIO", "NWC")


def _kernel(torch: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(torch.transpose(2, 1, 0))


def _conv(kernel: jax.Array, x: jax.Array, stride: int, pad: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x[None], kernel, (stride,), [(pad, pad)], dimension_numbers=LAYOUT
    )[0]


def _lstm(part: Weights, x: jax.Array, h: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    gates = part["kernel"] @ jnp.concatenate([x, h]) + part["bias"]
    keep_in, forget, new, out = jnp.split(gates, 4)
    c = jax.nn.sigmoid(forget) * c + jax.nn.sigmoid(keep_in) * jnp.tanh(new)
    return jax.nn.sigmoid(out) * jnp.tanh(c), c


def main() -> None:
    sound = chunks(recording())
    with tempfile.TemporaryDirectory() as directory:
        lm.bundle(detector(load(model_file())), directory, name="vad", n=(1, 32))
        handler, other = serve.load(directory), serve.load(directory)
        half = len(sound) // 2
        state, found = _hear(handler, lines(sound[:half]), 0)
        # Another instance, which has heard nothing, goes on from the state.
        _, rest = _hear(other, lines(sound[half:], state), half)
    spoken = sum(p > 0.5 for p in (*found, *rest)) / len(sound)
    print(f"speech in {spoken:.0%} of {len(sound) * CHUNK / RATE:.1f} s")


def _hear(handler: Any, request: Iterator[bytes], start: int) -> tuple[Any, list[float]]:
    """Stream a request, and print every probability as it comes; the last state, and all."""
    found: list[float] = []
    state = None
    for answer in map(json.loads, handler.stream(request)):
        for probability in answer.get("ys", ()):
            time = (start + len(found)) * CHUNK / RATE
            found.append(probability)
            print(f"{time:7.3f} s  {probability:.3f}  {'#' * round(40 * probability)}", flush=True)
        state = answer.get("state", state)
    return state, found


if __name__ == "__main__":
    main()
