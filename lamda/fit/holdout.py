"""Holding out: a share of the examples is not trained on, and says what the result is worth.

Which ones they are, an example's own numbers say: one that was held out once is held out from all
versions after, however the data has grown.
"""

import hashlib

import jax
import numpy as np

from lamda import errors
from lamda.fit.examples import Examples, data_address


def parted(examples: Examples, holdout: float) -> tuple[Examples, Examples]:
    """What is trained on, and what is held out: about ``holdout`` of all.

    Raises SpecError unless ``0 < holdout < 1``.
    """
    if not 0 < holdout < 1:
        raise errors.SpecError(errors.BAD_HOLDOUT.format(given=holdout))
    leaves = [np.asarray(a) for a in jax.tree.leaves((examples.inputs, examples.targets))]
    places = np.array([_place([leaf[row] for leaf in leaves]) for row in range(examples.count)])
    out = places < holdout
    train, held = (_some(examples, np.flatnonzero(rows)) for rows in (~out, out))
    return train, held


def _place(row: list[np.ndarray]) -> float:
    """A number from 0 to 1 that is as good as random, and always the same for the same example."""
    sha = hashlib.sha256(b"held out")
    for leaf in row:
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return int.from_bytes(sha.digest()[:8], "big") / 2**64


def _some(examples: Examples, rows: np.ndarray) -> Examples:
    inputs, targets = examples.rows(rows)
    return Examples(inputs, targets, len(rows), data_address(inputs, targets))
