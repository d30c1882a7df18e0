"""Operands: models as they are before something is made of them, and after."""

from typing import Any

import jax
import numpy as np

from lamda import errors
from lamda.model import Model
from lamda.testing.law import broken


class Operands:
    """What can be seen of models now, to be compared with what can be seen later.

    >>> from lamda.testing.operands import Operands
    >>> import lamda as lm
    >>> f = lm.lift(lambda x: x * 2, input="float32[n]")
    >>> kept = Operands(f)
    >>> kept.require_kept(f >> f)
    """

    def __init__(self, *models: Model) -> None:
        self.models = models
        self.before = [_seen(model) for model in models]

    def require_kept(self, *made: Any) -> None:
        """Raises LawError unless all are as they were, and nothing made is one of them."""
        for place, (model, before) in enumerate(zip(self.models, self.before, strict=True)):
            after = _seen(model)
            for what, value in before.items():
                if after[what] != value:
                    text = errors.OPERAND_CHANGED.format(
                        place=place, what=what, before=value, after=after[what]
                    )
                    raise broken(text)
            if any(model is one for one in made):
                raise broken(errors.OPERAND_RETURNED.format(place=place, name=model))


def _seen(model: Model) -> dict[str, Any]:
    # Asked of it anew: what a model remembers of itself could hide a change.
    again = model.derive(model.term, model.environment)
    return {
        "name": model.name,
        "type": repr(model),
        "term": model.term,
        "parts": len(model),
        "address": again.address,
        "weights": _bytes(again.weights),
        "frozen weights": _bytes(again.frozen),
    }


def _bytes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return str(structure), [np.asarray(leaf).tobytes() for leaf in leaves]
