"""One answer by plain JAX, for the time it takes: ``python plain_jit.py DIR TEXT``."""

import sys
from pathlib import Path
from typing import Any

import jax
import minilm
import numpy as np


def answer(weights: dict[str, Any], x: dict[str, Any]) -> dict[str, jax.Array]:
    """What `news.py` composes, written by hand."""
    embedding = minilm.encode(weights["topic"]["encoder"], x)
    heads = {"topic": weights["topic"]["topic_head"]}
    heads["sentiment"] = weights["sentiment"]["sentiment_head"]
    return {name: embedding @ h["kernel"] + h["bias"][None] for name, h in heads.items()}


def main(folder: Path, text: str) -> None:
    weights: dict[str, Any] = {}
    for path, array in np.load(folder / "weights.npz").items():
        *parents, name = path.split("/")
        node = weights
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = array
    tokens = minilm.tokenize((folder / "tokenizer.json").read_bytes(), [text])
    print(jax.tree.map(np.asarray, jax.jit(answer)(weights, tokens)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
