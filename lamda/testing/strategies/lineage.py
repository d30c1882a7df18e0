"""Lineages: versions, each with other weights than the one before."""

from hypothesis import strategies as st

from lamda.model import Model
from lamda.testing.strategies.close import weights
from lamda.testing.strategies.terms import models
from lamda.versions import succ


@st.composite
def versions(
    draw: st.DrawFn, first: st.SearchStrategy[Model] | None = None, *, longest: int = 4
) -> list[Model]:
    """Models each of which is ``succ`` of the one before; ``first`` draws the first of them.

    Shrinks to one version, and to weights that do not change.
    """
    lineage = [draw(models() if first is None else first)]
    while len(lineage) < longest and draw(st.booleans()):
        lineage.append(succ(lineage[-1], draw(weights(lineage[-1]))))
    return lineage
