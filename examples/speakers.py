"""Who is speaking? A small head on what a speech detector remembers, fitted to one conversation.

    python examples/speakers.py

The silero detector of vad.py stays as it was published. Two people talk for half a minute; a head
on the detector's memory learns who is who in the first 18 seconds, whose turns people have marked,
and is asked about the last 12. Both parts go over the sound together, a chunk of 32 ms after the
other, state in and state out. One conversation tells that it works, and not how well.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import data
import jax
import jax.numpy as jnp
import numpy as np
import optax
import vad
from optax.losses import sigmoid_binary_cross_entropy

import lamda as lm
import serve

HEARD = 18 * vad.RATE // vad.CHUNK
"""Chunks that the head learns from."""
SECOND = vad.RATE // vad.CHUNK
"""Chunks in a second."""


def turns(count: int) -> np.ndarray:
    """bool[count, 2]: which of the two talks in the middle of each chunk of `vad.recording()`.

    As the makers of the recording marked it: where both talk, both are true.
    """
    with zipfile.ZipFile(data.fetch(data.SPEECH)) as archive:
        lines = archive.read("pyannote/audio/sample/sample.rttm").decode().splitlines()
    rows = [(float(line[3]), float(line[4]), line[7]) for line in map(str.split, lines)]
    people = sorted({name for _, _, name in rows})
    middle = (np.arange(count) + 0.5) * vad.CHUNK / vad.RATE
    talks = np.zeros((count, len(people)), bool)
    for start, length, name in rows:
        talks[(middle >= start) & (middle < start + length), people.index(name)] = True
    return talks


def remember(weights: vad.Weights, given: Any) -> tuple[vad.State, dict[str, jax.Array]]:
    """As `vad.step`, with the memory of the LSTM beside the probability: float32[128].

    That is before its gate, which lets through what matters for speech or none.
    """
    state, speech = vad.step(weights, given)
    return state, {"memory": jnp.tanh(state["c"]), "speech": speech}


def linear(weights: Any, x: jax.Array) -> jax.Array:
    return jnp.dot(x, weights["kernel"]) + weights["bias"]


def parts() -> tuple[lm.Model, lm.Model]:
    """The detector, frozen, and an untrained head on its memory."""
    weights = vad.load(vad.model_file())
    type = (vad.STATE, f"float32[{vad.CHUNK}]")
    zeros = {"kernel": jnp.zeros(vad.WIDTH), "bias": jnp.zeros(())}
    head = lm.lift(linear, zeros, input=f"float32[{vad.WIDTH}]", name="head")
    return lm.freeze(lm.lift(remember, weights, input=type, name="detector")), head


def listener(detector: lm.Model, head: lm.Model) -> lm.Model:
    """`(state, float32[n, 512]) -> (state, {"second": float32[n], "speech": float32[n]})`.

    `speech` is a probability, `second` a logit: above 0 where it is the second who speaks.
    """
    told = lm.branch(second=lm.pick("memory") >> head, speech=lm.pick("speech"))
    return lm.scan(detector >> lm.second(told))


def learn(detector: lm.Model, head: lm.Model, sound: np.ndarray, talks: np.ndarray) -> lm.Model:
    """The head after one pass of the detector over the sound, and 300 steps of its own.

    What it learns from are the chunks in which one talks, and not both.
    """
    _, heard = lm.scan(detector)((silence(), jnp.asarray(sound)))
    rows = np.flatnonzero(talks.sum(1) == 1)
    pairs = (heard["memory"][rows], talks[rows, 1].astype(np.float32))
    fitted = lm.fit(
        lm.vmap(head), pairs, loss=sigmoid_binary_cross_entropy, optimizer=optax.adam(1e-2),
        steps=300, batch=64, key=jax.random.key(0),
    )  # fmt: skip
    return lm.succ(head, fitted.weights)


def silence() -> vad.State:
    """The state of a detector that has heard nothing."""
    sizes = {"c": vad.WIDTH, "context": vad.CONTEXT, "h": vad.WIDTH}
    return {name: jnp.zeros(size) for name, size in sizes.items()}


def stream(handler: Any, request: Iterator[bytes]) -> tuple[Any, np.ndarray, np.ndarray]:
    """The last state, `second` and `speech` of every chunk, as they come."""
    answers = [json.loads(answer) for answer in handler.stream(request)]
    found = [answer["ys"] for answer in answers if "ys" in answer]
    second, speech = (np.concatenate([ys[name] for ys in found]) for name in ("second", "speech"))
    return answers[-1]["state"], second, speech


def letters(talks: np.ndarray) -> str:
    """A letter a chunk: who talks, `x` for both, and `.` for none."""
    shown = np.array(list(".ABx"))
    return "".join(shown[talks[:, 0] + 2 * talks[:, 1]])


def main() -> None:
    sound = vad.chunks(vad.recording())
    talks = turns(len(sound))
    detector, head = parts()
    zero = listener(detector, head)
    learned = learn(detector, head, sound[:HEARD], talks[:HEARD])
    one = lm.succ(zero, listener(detector, learned))
    print(one)
    with tempfile.TemporaryDirectory() as directory:
        lm.bundle(one, directory, name="speakers", n=(1, 32))
        handler, other = serve.load(directory), serve.load(directory)
        state, _, _ = stream(handler, vad.lines(sound[:HEARD], at_once=32))
        # Another instance, which has heard nothing, goes on from the state.
        _, second, speech = stream(other, vad.lines(sound[HEARD:], state))
        handler.engine.close()
        other.engine.close()
    rest = talks[HEARD:]
    found = np.stack([second <= 0, second > 0], axis=1) & (speech > 0.5)[:, None]
    print(f"{'':7}  {'heard':<{SECOND}}  as people marked it")
    for start in range(0, len(rest), SECOND):
        row = slice(start, start + SECOND)
        time = (HEARD + start) * vad.CHUNK / vad.RATE
        print(f"{time:5.1f} s  {letters(found[row]):<{SECOND}}  {letters(rest[row])}")
    asked = rest.sum(1) == 1
    right = np.mean((second > 0) == rest[:, 1], where=asked)
    print(f"who of the two, in {asked.sum()} chunks of the last 12 s: {right:.3f}")
    print(f"always the one who talks most: {rest[asked].mean(0).max():.3f}")


if __name__ == "__main__":
    main()
