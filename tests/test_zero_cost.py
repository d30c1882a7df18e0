"""Zero cost: a composition compiles to the operations of hand-written JAX."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from architectures import SMALL  # type: ignore[import-not-found]
from zero_cost import compiled, operations  # type: ignore[import-not-found]


@pytest.mark.parametrize("name", SMALL)
def test_a_composition_has_the_operations_of_handwritten_jax(name):
    case = SMALL[name]()
    ours, theirs = compiled(case)
    counts = operations(theirs.as_text())
    assert counts.total() > 3
    assert operations(ours.as_text()) == counts
    jax.tree.map(
        np.testing.assert_array_equal,
        ours(jax.tree.leaves(case.model), case.x),
        theirs(case.weights, case.x),
    )
