"""The encoder against torch's, and what the compiler is told about it."""

from __future__ import annotations

import json
from pathlib import Path

import data
import jax
import jax.numpy as jnp
import minilm
import numpy as np
import pytest
from jax import export

REFERENCE = json.loads(Path(__file__).with_name("minilm_reference.json").read_text("utf-8"))
TEXTS = [row["text"] for row in REFERENCE["sentences"]]


@pytest.fixture(scope="module")
def files() -> data.Encoder:
    return data.minilm_files()


@pytest.fixture(scope="module")
def weights(files: data.Encoder) -> minilm.Weights:
    return jax.device_put(minilm.load(files.safetensors))


def random_weights() -> minilm.Weights:
    """Weights of the right shapes but for the vocabulary, so that no file is needed."""
    width = minilm.WIDTH
    normal = np.random.default_rng(0).normal

    def made(*shape: int) -> np.ndarray:
        return normal(0, 0.05, shape).astype(np.float32)

    def dense(rows: int, columns: int) -> minilm.Weights:
        return {"kernel": made(2, rows, columns), "bias": made(2, columns)}

    def norm(*layers: int) -> minilm.Weights:
        return {"scale": 1 + made(*layers, width), "bias": made(*layers, width)}

    attention = {name: dense(width, width) for name in ("query", "key", "value", "output")}
    mlp = {"up": dense(width, 4 * width), "down": dense(4 * width, width)}
    return {
        "embeddings": {
            "word": made(50, width),
            "position": made(16, width),
            "type": made(2, width),
            "norm": norm(),
        },
        "layers": {"attention": attention | {"norm": norm(2)}, "mlp": mlp | {"norm": norm(2)}},
    }


def test_outputs_equal_the_reference(files: data.Encoder, weights: minilm.Weights) -> None:
    wanted = np.array([row["embedding"] for row in REFERENCE["sentences"]], np.float32)
    x = minilm.tokenize(files.tokenizer, TEXTS, REFERENCE["max_length"])
    assert x["mask"].sum(1).tolist() == [row["tokens"] for row in REFERENCE["sentences"]]
    got = jax.jit(minilm.encode)(weights, x)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_the_reference_tells_sentences_apart() -> None:
    rows = np.array([row["embedding"] for row in REFERENCE["sentences"]])
    likeness = rows @ rows.T
    np.testing.assert_allclose(np.diag(likeness), 1, atol=1e-6)
    assert (likeness - np.eye(len(rows))).max() < 0.9


def test_load_keeps_every_number_but_the_pooler(weights: minilm.Weights) -> None:
    count = sum(leaf.size for leaf in jax.tree.leaves(weights))
    assert count == 22_713_216 - 384 * 385
    assert weights["layers"]["mlp"]["up"]["kernel"].shape == (6, 384, 1536)


def test_traces_once_for_all_shapes() -> None:
    weights = random_weights()
    b, t = export.symbolic_shape("b, t")
    tokens = jax.ShapeDtypeStruct((b, t), jnp.int32)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        exported = export.export(jax.jit(minilm.encode))(weights, {"ids": tokens, "mask": tokens})
    assert [str(out) for out in exported.out_avals] == ["float32[b,384]"]
    for shape in ((1, 1), (3, 7)):
        x = {"ids": np.full(shape, 5, np.int32), "mask": np.ones(shape, np.int32)}
        np.testing.assert_allclose(
            exported.call(weights, x), jax.jit(minilm.encode)(weights, x), rtol=0, atol=1e-6
        )


def test_one_layer_in_the_program_however_many_run() -> None:
    weights = random_weights()
    x = {"ids": np.ones((1, 4), np.int32), "mask": np.ones((1, 4), np.int32)}
    program = jax.jit(minilm.encode).lower(weights, x).as_text()
    # Six products with a kernel and two in the attention.
    assert program.count("stablehlo.dot_general") == 8


def test_padding_changes_nothing() -> None:
    weights = random_weights()
    ids = np.array([[3, 4, 5]], np.int32)
    encode = jax.jit(minilm.encode)
    short = encode(weights, {"ids": ids, "mask": np.ones_like(ids)})
    longer = {"ids": np.array([[3, 4, 5, 9, 9]]), "mask": np.array([[1, 1, 1, 0, 0]])}
    np.testing.assert_allclose(encode(weights, longer), short, rtol=0, atol=1e-6)


def test_tokenize_pads_to_the_longest_and_cuts_at_max_length(files: data.Encoder) -> None:
    x = minilm.tokenize(files.tokenizer, ["one two three", "one"])
    assert x["ids"].dtype == x["mask"].dtype == np.int32
    assert x["mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert x["ids"].tolist() == [[101, 2028, 2048, 2093, 102], [101, 2028, 102, 0, 0]]
    assert minilm.tokenize(files.tokenizer, ["word " * 300], 200)["ids"].shape == (1, 200)


def test_tokenize_refuses_more_tokens_than_positions() -> None:
    with pytest.raises(ValueError, match="max_length is 513; it must lie between 2 and 512"):
        minilm.tokenize(b"", ["one"], 513)
