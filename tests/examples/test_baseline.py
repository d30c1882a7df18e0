"""The baseline learns, and is marked on texts it has not seen."""

from __future__ import annotations

import baseline
import data
import numpy as np


def test_accuracy_of_a_separable_task_is_one() -> None:
    texts = ["red red", "a red", "blue sky", "blue blue"]
    labels = np.array([0, 0, 1, 1])
    assert baseline.accuracy(texts, labels, ["red", "blue"], np.array([0, 1])) == 1.0
    assert baseline.accuracy(texts, labels, ["red", "blue"], np.array([0, 0])) == 0.5


def test_accuracy_on_the_news() -> None:
    train, test = data.split(data.bbc(), 100, 500)
    got = baseline.accuracy(train.texts, train.labels, test.texts, test.labels)
    assert 0.92 < got < 0.97
