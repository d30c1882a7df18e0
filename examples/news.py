"""The main job: from a pre-trained encoder to a deployed, versioned handler.

    make demo            or: python examples/news.py [--out DIR] [--small]

One sentence encoder and two small heads, for the topic of a text and for its sentiment. The
encoder runs once for each request and is stored once; what a new version adds are the heads.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import baseline
import data
import deployed
import jax
import jax.numpy as jnp
import minilm
import numpy as np
import optax
from optax.losses import sigmoid_binary_cross_entropy, softmax_cross_entropy_with_integer_labels

import lamda as lm

SIZES: dict[str, Any] = {"batch": (1, 32), "t": (64, 128)}  # texts in a request, tokens of one
TOKENS = {"ids": "int32[b, t]", "mask": "int32[b, t]"}
SENTENCES = [
    "Shares in the airline rose after it reported record profits.",
    "The striker scored twice as the champions won the cup final.",
    "A tedious, badly acted film that wastes its wonderful cast.",
]


def linear(weights: Any, x: jax.Array) -> jax.Array:
    return x @ weights["kernel"] + weights["bias"][None]


def head(classes: int, name: str) -> lm.Model:
    """An untrained linear head on an embedding."""
    zeros = {"kernel": jnp.zeros((384, classes)), "bias": jnp.zeros(classes)}
    return lm.lift(linear, zeros, input="float32[b, 384]", name=name)


def products(model: lm.Model) -> int:
    """How many matrix products the program of a model has."""
    tokens = jax.ShapeDtypeStruct((1, 64), jnp.int32)
    lowered = jax.jit(lambda x: model(x)).lower({"ids": tokens, "mask": tokens})
    return lowered.as_text().count("stablehlo.dot_general")


def topic_loss(logits: jax.Array, label: jax.Array) -> jax.Array:
    return softmax_cross_entropy_with_integer_labels(logits, label)


def sentiment_loss(logits: jax.Array, label: jax.Array) -> jax.Array:
    return sigmoid_binary_cross_entropy(logits[:, 0], label.astype(logits.dtype))


def main(out: Path, small: bool) -> None:
    print("1. Lift a pre-trained encoder.")
    files = data.minilm_files()
    encoder = lm.lift(minilm.encode, minilm.load(files.safetensors), input=TOKENS, name="encoder")
    tokenize = partial(minilm.tokenize, files.tokenizer, max_length=max(SIZES["t"]))
    print(f"   {encoder!r}")

    print("2. Compose: one encoder, two heads.")
    topic = lm.fine_tune_head(encoder, head(5, "topic_head"))
    sentiment = lm.fine_tune_head(encoder, head(1, "sentiment_head"))
    zero = lm.branch(topic=topic, sentiment=sentiment)
    out.mkdir(parents=True, exist_ok=True)
    (out / "news.svg").write_text(zero.draw())
    print(f"   {zero}, drawn in {out / 'news.svg'}")
    print(
        f"   its program has {products(zero)} matrix products, an encoder has {products(encoder)}, "
        "a head 1: the encoder runs once"
    )

    print("3. Train the heads on real texts.")
    share = 10 if small else 1
    news = data.split(data.bbc(), 100, 1000 // share)
    films = data.split(data.movie_sentiment(), 1000 // share, 2000 // share)

    def train(model: lm.Model, texts: data.Texts, loss: Callable[..., Any], steps: int) -> lm.Model:
        adam, key = optax.adam(1e-2), jax.random.key(0)
        examples = (tokenize(texts.texts), texts.labels)
        return lm.fit(model, examples, loss=loss, optimizer=adam, steps=steps, batch=32, key=key)

    topic = train(topic, news[0], topic_loss, 200)
    sentiment = train(sentiment, films[0], sentiment_loss, 200)
    one = lm.succ(zero, lm.branch(topic=topic, sentiment=sentiment))
    handler = lm.compile(one, tokenizer=files.tokenizer, **SIZES)
    told = {
        "topic": (news, lambda logits: logits.argmax(1)),
        "sentiment": (films, lambda logits: logits[:, 0] > 0),
    }
    for name, ((seen, held_out), decide) in told.items():
        logits = np.asarray(handler(tokenize(held_out.texts))[name])
        ours = np.mean(decide(logits) == held_out.labels)
        theirs = baseline.accuracy(seen.texts, seen.labels, held_out.texts, held_out.labels)
        print(
            f"   {name:<9} from {len(seen.texts)} texts, {len(held_out.texts)} held out: {ours:.3f}"
        )
        print(f"   {'':<9} with tf-idf and logistic regression: {theirs:.3f}")

    print("4. Keep both versions.")
    store = lm.Store(out / "store")
    store.put(one, ref="news")
    print(f"   who(one)  is {lm.who(one)}")
    print(f"   pred(one) is {lm.who(zero)}, version zero: {lm.pred(one) is zero}")
    print(f"   succ(zero, heads) is one: {lm.succ(zero, one.weights).address == lm.who(one)}")
    for version in store.log("news"):
        print(f"   {version.who[:19]}... adds {version.added:>10,} bytes")

    print("5. Bundle: programs, executables, weights, tokenizer.")
    bundle = partial(lm.bundle, name="news", tokenizer=files.tokenizer, **SIZES)
    first = bundle(one, out / "bundle")
    print(f"   {first.compiled} executables compiled, {first.added:,} bytes written")

    print("6. Serve it in a fresh process, without jax and without lamda.")
    with deployed.server(out / "bundle", deployed.question(SENTENCES[0])) as server:
        for sentence in SENTENCES:
            asked = deployed.question(sentence)
            answer, local = server.ask(asked), deployed.ask(handler, asked)
            apart = deployed.distance(answer, local)
            assert apart <= deployed.BOUND, f"{apart} is more than {deployed.BOUND}"
            named = news[0].classes[int(np.argmax(answer["topic"]))]
            mood = "positive" if answer["sentiment"][0][0] > 0 else "negative"
            print(f"   {named:<13} {mood}  {sentence}")
        print(f"   as in this process, to within {deployed.BOUND:.0e}")
    plain = deployed.plain_jit(one, files.tokenizer, SENTENCES[0])
    print(f"   process start to first answer: {server.first:.2f} s (plain jax.jit: {plain:.2f} s)")

    print("7. A third version: the heads move, nothing compiles.")
    more = train(topic, news[0], topic_loss, 100), train(sentiment, films[0], sentiment_loss, 100)
    two = lm.succ(one, lm.branch(topic=more[0], sentiment=more[1]))
    store.put(two, ref="news")
    second = bundle(two, out / "bundle")
    print(f"   {second.compiled} executables compiled, {second.added:,} bytes written")
    print(f"   {store.log('news')[0].added:,} bytes added to the store")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The main job, end to end.")
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "out", help="where to put what is made")
    parser.add_argument("--small", action="store_true", help="fewer texts, for a quick look")
    arguments = parser.parse_args()
    main(arguments.out, arguments.small)
