"""Stores: directories of versions, which are there as long as somebody holds them."""

import shutil
import weakref
from tempfile import mkdtemp

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import lamda as lm
from lamda.store import Store
from lamda.testing import strategies

REFS = ("m", "n", "team/m")


@st.composite
def _stores(draw: DrawFn) -> Store:
    store = empty()
    for ref in draw(st.lists(st.sampled_from(REFS), unique=True, max_size=2)):
        model = draw(strategies.models(size=3))
        for _ in range(draw(st.integers(0, 2))):
            model = lm.succ(model, draw(strategies.weights(model)))
        store.put(model, ref=ref)
    return store


def stores() -> SearchStrategy[Store]:
    """A store in a temporary directory, with up to two refs, of up to three versions each.

    The directory is removed when the store is let go.
    """
    return _stores()


def empty() -> Store:
    """A store with nothing in it; its directory is removed when it is let go."""
    path = mkdtemp(prefix="lamda-store-")
    store = Store(path)
    weakref.finalize(store, shutil.rmtree, path, ignore_errors=True)
    return store
