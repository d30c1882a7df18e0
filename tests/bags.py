"""Real texts as bags of words: news stories in five classes, for models that train in seconds."""

import re
import zlib
from functools import cache

import numpy as np

from examples import data

WIDTH = 1024
"""Words are counted by the remainder of a checksum."""


@cache
def news() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """500 stories to train on, and 500 others: ``float32[n, WIDTH]`` and the class of each."""
    train, test = data.split(data.bbc(), 500, 500)
    return (_bags(train.texts), train.labels), (_bags(test.texts), test.labels)


def _bags(texts: list[str]) -> np.ndarray:
    """``log(1 + count)`` of every word, of length one."""
    rows = np.zeros((len(texts), WIDTH), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall("[a-z]+", text.lower()):
            row[zlib.crc32(word.encode()) % WIDTH] += 1
    rows = np.log1p(rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
