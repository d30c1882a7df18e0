"""What training costs: lm.fit and lm.search beside the loop of optax that one would write.

    python benchmarks/fit.py [--rounds 3] [--only head|heads|step|again ...]

`head` is a linear head on the frozen MiniLM, 2000 news stories of 64 tokens, 50 epochs; the plain
loop runs the encoder in every step, some of its epochs are timed, and the rest is reckoned from
them. `heads` is 16 of them in one go. `step` is one step of an MLP, without what is compiled.
`again` is a fit whose result is in a store. Peers take turns; medians are printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from peers import runners

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]  # before benchmarks/serve.py

import data  # noqa: E402
import minilm  # noqa: E402

import lamda as lm  # noqa: E402
from lamda.fit import features  # noqa: E402
from lamda.fit.order import Order  # noqa: E402

KEY = jax.random.key(0)
SEEN, EPOCHS, BATCH, TOKENS = 2000, 50, 32, 64
TIMED = 1
"""Epochs of the plain loop that are run in each round."""
HEADS = 16
RATE = 1e-2
TURNS = 10
"""Turns of a round, in `step`."""
MLPS = {
    "784-512-512-10, batch 128": ((784, 512, 512, 10), 128, 50),
    "32-32-10, batch 32": ((32, 32, 10), 32, 500),
}
"""Their widths, their batch, and the steps of a turn."""
Found = dict[str, float]


def entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)


def linear(weights: Any, x: jax.Array) -> jax.Array:
    return x @ weights["kernel"] + weights["bias"][None]


def head(seed: int = 0) -> lm.Model:
    kernel = 0.01 * jax.random.normal(jax.random.key(seed), (minilm.WIDTH, 5))
    weights = {"kernel": kernel, "bias": jnp.zeros(5)}
    return lm.lift(linear, weights, input=f"float32[b, {minilm.WIDTH}]", name="head")


class Plain:
    """The loop of optax that one would write, of ``apply(weights, fixed, x)``."""

    def __init__(
        self, apply: Callable[..., Any], weights: Any, seen: Any, batch: int, fixed: Any = ()
    ) -> None:
        inputs, targets = jax.tree.map(jnp.asarray, seen)
        adam = optax.adam(RATE)

        def loss(weights: Any, fixed: Any, x: Any, t: Any) -> jax.Array:
            return entropy(apply(weights, fixed, x), t).mean()

        @jax.jit
        def step(weights: Any, state: Any, rows: Any, fixed: Any) -> Any:
            x, t = jax.tree.map(lambda a: a[rows], (inputs, targets))
            value, gradient = jax.value_and_grad(loss)(weights, fixed, x, t)
            updates, state = adam.update(gradient, state, weights)
            return optax.apply_updates(weights, updates), state, value

        self._step, self._order = step, Order(KEY, len(targets), batch)
        self._fixed = fixed
        self.weights, self._state, self._taken = weights, adam.init(weights), 0
        jax.block_until_ready(step(weights, self._state, self._order.rows(0), fixed))  # compiled

    def run(self, steps: int) -> float:
        """So many steps more: their seconds."""
        began, values = time.perf_counter(), []
        weights, state = self.weights, self._state
        for number in range(self._taken, self._taken + steps):
            weights, state, value = self._step(
                weights, state, self._order.rows(number), self._fixed
            )
            values.append(value)
        for value in values:
            float(value)
        jax.block_until_ready(weights)
        self.weights, self._state, self._taken = weights, state, self._taken + steps
        return time.perf_counter() - began


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    found = run()
    return found, time.perf_counter() - began


class News(NamedTuple):
    """An encoder, and stories that are seen and held out."""

    weights: Any
    encoder: lm.Model
    seen: tuple[Any, np.ndarray]
    held: tuple[Any, np.ndarray]


def news() -> News:
    files, texts = data.minilm_files(), data.bbc()
    weights = jax.tree.map(jnp.asarray, minilm.load(files.safetensors))
    kind = {"ids": "int32[b, t]", "mask": "int32[b, t]"}
    tokens = minilm.tokenize(files.tokenizer, texts.texts, TOKENS)
    order = np.random.default_rng(0).permutation(len(texts.texts))
    labels = texts.labels.astype(np.int32)
    seen, held = (
        (jax.tree.map(lambda a: a[rows], tokens), labels[rows])  # noqa: B023
        for rows in (order[:SEEN], order[SEEN:])
    )
    return News(weights, lm.lift(minilm.encode, weights, input=kind, name="encoder"), seen, held)


def common(epochs: int, **more: Any) -> dict[str, Any]:
    given = {"loss": entropy, "optimizer": optax.adam(RATE), "batch": BATCH, "key": KEY}
    return {**given, "epochs": epochs, "progress": False, **more}


def accuracy(logits: Any, labels: np.ndarray) -> float:
    return float(np.mean(np.asarray(logits).argmax(-1) == labels))


def of_head(given: News, rounds: int) -> None:
    """(a) A head on a frozen encoder."""
    model, steps = lm.fine_tune_head(given.encoder, head()), -(-SEEN // BATCH)

    def apply(weights: Any, fixed: Any, x: Any) -> Any:
        return linear(weights, minilm.encode(fixed, x))

    def ours(epochs: int) -> tuple[Any, float]:
        features.forget()
        with tempfile.TemporaryDirectory() as cache:
            os.environ["LAMDA_CACHE"] = cache
            return timed(lambda: lm.fit(model, given.seen, **common(epochs)))

    found: dict[str, list[float]] = {"lm.fit": [], "plain": []}
    fitted, weights = model, None
    for _ in range(rounds):
        fitted, spent = ours(EPOCHS)
        found["lm.fit"].append(spent)
        plain = Plain(apply, head().weights, given.seen, BATCH, given.weights)
        found["plain"].append(plain.run(steps * TIMED) / TIMED * EPOCHS)
        weights = plain.weights
    few, _ = ours(TIMED)
    logits = linear(weights, given.encoder(given.held[0]))
    shares = {
        f"lm.fit, {TIMED} epoch": accuracy(few(given.held[0]), given.held[1]),
        f"plain, {TIMED} epoch": accuracy(logits, given.held[1]),
        f"lm.fit, {EPOCHS} epochs": accuracy(fitted(given.held[0]), given.held[1]),
    }
    middle = {name: statistics.median(times) for name, times in found.items()}
    runners.header(f"a head on MiniLM, {SEEN} texts, {EPOCHS} epochs", f"{'seconds':>10}")
    print(f"  {'lm.fit, the encoder too':<30} {middle['lm.fit']:10.2f}")
    print(f"  {f'plain, {EPOCHS} times {TIMED} epoch':<30} {middle['plain']:10.2f}")
    for name, share in shares.items():
        print(f"  held-out accuracy, {name:<18} {share:.4f}")
    apart = abs(shares[f"lm.fit, {TIMED} epoch"] - shares[f"plain, {TIMED} epoch"])
    runners.goals([
        ("lm.fit / plain", lambda: 100 * middle["lm.fit"] / middle["plain"], 5, "%"),
        (f"accuracy apart, after {TIMED} epoch", lambda: apart, 0.005, ""),
    ])  # fmt: skip


def of_heads(given: News, rounds: int) -> None:
    """(b) 16 heads in one go."""
    models = [lm.fine_tune_head(given.encoder, head(seed)) for seed in range(HEADS)]
    options = common(EPOCHS)
    lm.fit(models[0], given.seen, **common(1))  # the features are there now
    ways: dict[str, Callable[[], Any]] = {
        "one": lambda: lm.fit(models[0], given.seen, **options),
        "together": lambda: lm.search(models, given.seen, **options),
    }
    found = taking_turns(ways, rounds)
    runners.header(f"{HEADS} heads, {EPOCHS} epochs, features there", f"{'seconds':>10}")
    for name, seconds in found.items():
        print(f"  {name:<30} {seconds:10.2f}")
    runners.goals([
        (f"{HEADS} heads / one head", lambda: found["together"] / found["one"], 2, "")
    ])  # fmt: skip


def taking_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> Found:
    """The median seconds of each."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for order in runners.shuffled(ways, rounds):
        for name in order:
            found[name].append(timed(ways[name])[1])
    return {name: statistics.median(times) for name, times in found.items()}


def mlp(widths: tuple[int, ...]) -> lm.Model:
    def layer(place: int) -> lm.Model:
        ins, outs = widths[place : place + 2]
        kernel = jax.random.normal(jax.random.key(place), (ins, outs)) / ins**0.5
        weights = {"kernel": kernel, "bias": jnp.zeros(outs)}
        return lm.lift(linear, weights, input=f"float32[b, {ins}]", name=f"dense{place}")

    relu = lm.lift(jax.nn.relu)
    inner = [part for i in range(len(widths) - 2) for part in (layer(i), relu)]
    return lm.compose(*inner, layer(len(widths) - 2))


def of_step(rounds: int) -> None:
    """(c) One step of an MLP; batches are the same in both, and what is compiled does not count.

    They take turns within one run of fit: its callback takes as many steps of the plain loop.
    """
    for name, (widths, batch, turn) in MLPS.items():
        model, draw = mlp(widths), np.random.default_rng(0)
        inputs = draw.standard_normal((4096, widths[0]), np.float32)
        seen = inputs, draw.integers(0, widths[-1], 4096).astype(np.int32)

        def apply(weights: Any, _: Any, x: Any, layers: int = len(widths) - 1) -> Any:
            for place in range(layers):
                x = linear(weights[f"dense{place}"], x)
                x = jax.nn.relu(x) if place < layers - 1 else x
            return x

        plain = Plain(apply, model.weights, seen, batch)
        times: dict[str, list[float]] = {"lm.fit": [], "plain": []}
        clock = time.perf_counter()

        def take_turns(
            event: Any, turn: int = turn, plain: Plain = plain, times: Any = times
        ) -> None:
            nonlocal clock
            times["lm.fit"].append((time.perf_counter() - clock) / turn)
            times["plain"].append(plain.run(turn) / turn)
            clock = time.perf_counter()

        lm.fit(
            model, seen, loss=entropy, optimizer=optax.adam(RATE), steps=TURNS * rounds * turn,
            batch=batch, key=KEY, every=turn, callbacks=[take_turns], progress=False,
        )  # fmt: skip
        runners.header(
            f"a step of {name}, {TURNS * rounds} turns", f"{'median us':>10} {'least':>10}"
        )
        found = {way: np.array(spent[1:]) for way, spent in times.items()}  # the first compiled
        for way, seconds in found.items():
            print(f"  {way:<30} {1e6 * np.median(seconds):10.1f} {1e6 * seconds.min():10.1f}")
        ratio = np.median(found["lm.fit"] / found["plain"])
        runners.goals([("lm.fit / plain, median of turns", ratio.item, 1.05, "")])


AGAIN = """
import sys
folder, how, sys.path[:0] = sys.argv[1], sys.argv[2], sys.argv[3:]
import fit, lamda as lm
store, stories = lm.Store.open(folder), fit.news()
lifted = lm.fine_tune_head(stories.encoder, fit.head())
model = store.get("zero") if how == "stored" else lifted
found, spent = fit.timed(lambda: lm.fit(model, stories.seen, **fit.common(1, store=store)))
print(found.address, spent)
"""


def of_again(given: News, rounds: int) -> None:
    """(d) A fit whose result is in a store. All that is asked of the model is in its time.

    In a fresh process, the model is of the store, or is lifted anew, and 90 MB are hashed.
    """
    model = lm.fine_tune_head(given.encoder, head())
    with tempfile.TemporaryDirectory() as folder:
        store = lm.Store(folder)
        store.put(model, ref="zero")
        fitted = lm.fit(model, given.seen, **common(1, store=store))

        def here() -> float:
            found, spent = timed(lambda: lm.fit(model, given.seen, **common(1, store=store)))
            assert found.address == fitted.address
            return spent

        def fresh(how: str) -> float:
            command = [sys.executable, "-c", AGAIN, folder, how, *sys.path]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            who, spent = told.split()[-2:]
            assert who == fitted.address
            return float(spent)

        times = [(here(), fresh("stored"), fresh("lifted")) for _ in range(rounds)]
    names = ("in this process", "in a fresh one", "in a fresh one, 90 MB hashed")
    middle = dict(zip(names, 1000 * np.median(times, axis=0), strict=True))
    runners.header("a second fit with the same inputs, and a store", f"{'ms':>10}")
    for name, found in middle.items():
        print(f"  {name:<30} {found:10.1f}")
    runners.goals([
        (f"a second fit {name}", partial(middle.__getitem__, name), 100, "ms") for name in middle
    ])  # fmt: skip


def main() -> None:
    parts = ["head", "heads", "step", "again"]
    given = runners.options(__doc__ or "", 3, parts)
    wanted = runners.chosen(parts, given.only)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: runners.CORES])
    if "step" in wanted:
        of_step(given.rounds)
    if wanted != ["step"]:
        stories = news()
        for name, run in {"head": of_head, "heads": of_heads, "again": of_again}.items():
            if name in wanted:
                run(stories, given.rounds)


if __name__ == "__main__":
    main()
