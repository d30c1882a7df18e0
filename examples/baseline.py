"""What to compare with: logistic regression, on counted words or on pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


def accuracy(
    train_texts: Sequence[str],
    train_labels: np.ndarray,
    test_texts: Sequence[str],
    test_labels: np.ndarray,
) -> float:
    """The share of test texts that tf-idf and logistic regression label rightly."""
    words = TfidfVectorizer(sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(C=10.0, max_iter=1000))
    return float(model.fit(train_texts, train_labels).score(test_texts, test_labels))


def pixels(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """The share of test pictures, uint8[n, h, w], that logistic regression labels rightly."""
    model = LogisticRegression(max_iter=1000)
    model.fit(_rows(train), train_labels)
    return float(model.score(_rows(test), test_labels))


def _rows(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1) / 255
