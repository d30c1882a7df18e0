"""Handwritten digits, from a network that has seen photographs only.

    python examples/digits.py [--out DIR] [--small]

EfficientNet-Lite0 stays as it was published; what is trained is a linear head on its features. A
request is a picture, as JPEG or PNG.
"""

from __future__ import annotations

import argparse
import io
from functools import partial
from pathlib import Path
from typing import Any

import baseline
import data
import deployed
import effnet
import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax.losses import softmax_cross_entropy_with_integer_labels
from PIL import Image

import lamda as lm

SIDE = 96
"""Of the pictures that the network sees, in pixels."""
SIZES: dict[str, Any] = {"batch": (1, 32)}
IMAGE = {"mean": effnet.MEAN, "std": effnet.STD}
"""How the bytes of a picture become numbers."""
BOUND = 1e-4
"""How far an answer may be from that of another build of XLA, for logits of size 10 to 30."""


def enlarge(x: jax.Array) -> jax.Array:
    """Grey pictures of 28 by 28 as the network takes them: float32[b, 96, 96, 3]."""
    large = jax.image.resize(x, (x.shape[0], SIDE, SIDE), "bilinear")
    return jnp.repeat(large[..., None], 3, axis=-1)


def linear(weights: Any, x: jax.Array) -> jax.Array:
    return x @ weights["kernel"] + weights["bias"][None]


def model(weights: effnet.Weights) -> lm.Model:
    """Enlarge, look, and tell which digit: the head is untrained, and the only part to train."""
    large = lm.lift(enlarge, input="float32[b, 28, 28]", name="enlarge")
    eyes = lm.lift(effnet.features, weights, input=f"float32[b, {SIDE}, {SIDE}, 3]", name="effnet")
    zeros = {"kernel": jnp.zeros((effnet.WIDTH, 10)), "bias": jnp.zeros(10)}
    head = lm.lift(linear, zeros, input=f"float32[b, {effnet.WIDTH}]", name="head")
    return lm.fine_tune_head(large >> eyes, head)


def numbers(pictures: np.ndarray) -> np.ndarray:
    """Pictures of bytes as the model takes them, and as `IMAGE` says."""
    return (pictures.astype(np.float32) - IMAGE["mean"]) / IMAGE["std"]


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def train(given: lm.Model, examples: data.Pictures, steps: int) -> lm.Model:
    """The successor that has seen the examples."""
    pairs = (numbers(examples.pictures), examples.labels)
    loss, adam = softmax_cross_entropy_with_integer_labels, optax.adam(3e-3)
    key = jax.random.key(0)
    return lm.fit(given, pairs, loss=loss, optimizer=adam, steps=steps, batch=32, key=key)


def main(out: Path, small: bool) -> None:
    print("1. Lift a network that was trained on photographs.")
    weights, _ = effnet.load(effnet.model_file())
    zero = model(weights)
    print(f"   {zero}")

    print("2. Train the head on handwritten digits.")
    seen, held_out = data.split_pictures(data.mnist(), *((200, 300) if small else (500, 2000)))
    one = train(zero, seen, 300)
    handler = lm.compile(one, **SIZES)
    logits = np.asarray(handler(numbers(held_out.pictures)))
    ours = np.mean(logits.argmax(1) == held_out.labels)
    theirs = baseline.pixels(*seen, *held_out)
    print(f"   from {len(seen.labels)} digits, {len(held_out.labels)} held out: {ours:.3f}")
    print(f"   with logistic regression on pixels: {theirs:.3f}")

    print("3. Keep both versions.")
    store = lm.Store(out / "store")
    store.put(one, ref="digits")
    print(f"   who(one)  is {lm.who(one)}")
    print(f"   pred(one) is {lm.who(zero)}, version zero: {lm.pred(one) is zero}")
    print(f"   succ(zero, head) is one: {lm.succ(zero, one.weights).address == lm.who(one)}")
    for version in store.log("digits"):
        print(f"   {version.who[:19]}... adds {version.added:>10,} bytes")

    print("4. Bundle: programs, executables, weights, and how to read a picture.")
    bundle = partial(lm.bundle, name="digits", image=IMAGE, **SIZES)
    first = bundle(one, out / "bundle")
    print(f"   {first.compiled} executables compiled, {first.added:,} bytes written")

    print("5. Serve it in a fresh process, without jax and without lamda.")
    files = [png(picture) for picture in held_out.pictures[:5]]
    with deployed.server(out / "bundle", files[0], "image/png") as server:
        for file, label, local in zip(files, held_out.labels, logits, strict=False):
            (answer,) = server.ask(file, "image/png")
            apart = deployed.distance(answer, local)
            assert apart <= BOUND, f"{apart} is more than {BOUND}"
            print(f"   a {label}, read as {int(np.argmax(answer))}: PNG of {len(file)} bytes")
        print(f"   as in this process, to within {BOUND:.0e}")
    print(f"   process start to first answer: {server.first:.2f} s")

    print("6. A third version: the head moves, nothing compiles.")
    two = train(one, seen, 100)
    store.put(two, ref="digits")
    second = bundle(two, out / "bundle")
    print(f"   {second.compiled} executables compiled, {second.added:,} bytes written")
    print(f"   {store.log('digits')[0].added:,} bytes added to the store")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Digits, end to end.")
    out = Path(__file__).parent / "out" / "digits"
    parser.add_argument("--out", type=Path, default=out, help="where to put what is made")
    parser.add_argument("--small", action="store_true", help="fewer digits, for a quick look")
    arguments = parser.parse_args()
    main(arguments.out, arguments.small)
