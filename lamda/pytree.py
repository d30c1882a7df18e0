"""Models as JAX pytrees, whose leaves are the weights that are trained.

What stays the same when a transformation goes over a model is its frame: the term, and the
weights that are not trained. Frames are equal for models of one structure, whatever their weights
and wherever they were made, so new weights are never traced again.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import jax

from lamda.model import Model
from lamda.term import Branch, Compose, Control, Lift, Named, Pick, Slot, Term


class _Frame:
    """A model without its leaves: what stays the same when a transformation goes over it."""

    __slots__ = ("_key", "model")

    def __init__(self, model: Model) -> None:
        self.model = model
        self._key: Hashable = None

    def key(self) -> Hashable:
        """Equal for models of one structure, whatever their weights and wherever they were made."""
        if self._key is None:
            places = {slot: i for i, slot in enumerate(self.model.slots)}
            term = _outline(self.model.term, places)
            bound = [(s.frozen, self.model.environment[s]) for s in self.model.slots]
            fixed = [
                tuple(t.digest if frozen or not t.floating else None for t in w.tensors)
                for frozen, w in bound
            ]
            self._key = (term, tuple(w.structure for _, w in bound), tuple(fixed))
        return self._key

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Frame):
            return NotImplemented
        return self.model is other.model or self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())


def _outline(term: Term, places: Mapping[Slot, int]) -> Hashable:
    """The structure of a term, each part of it once, with its variables by their places."""
    numbers: dict[Hashable, int] = {}
    seen: dict[int, int] = {}

    def number(term: Term) -> int:
        if id(term) not in seen:
            seen[id(term)] = numbers.setdefault(entry(term), len(numbers))
        return seen[id(term)]

    def entry(term: Term) -> Hashable:
        match term:
            case Lift(function, slot):
                return "lift", function, slot and (places[slot], slot.frozen)
            case Compose(parts):
                return "compose", *map(number, parts)
            case Branch(parts, names):
                return "branch", names, *map(number, parts)
            case Pick(key):
                return "pick", key
            case Named(name, inner):
                return "named", name, number(inner)
            case Control(kind, bodies):
                return "control", kind, *map(number, bodies)

    root = number(term)
    return tuple(numbers), root


def _flatten(model: Model) -> tuple[tuple[Any], _Frame]:
    return (model.weights,), _Frame(model)


def _flatten_with_keys(model: Model) -> tuple[tuple[tuple[Any, Any]], _Frame]:
    return ((jax.tree_util.GetAttrKey("weights"), model.weights),), _Frame(model)


def _unflatten(frame: _Frame, children: Iterable[Any]) -> Model:
    (weights,) = children
    return frame.model.with_weights(weights)


jax.tree_util.register_pytree_with_keys(Model, _flatten_with_keys, _unflatten, _flatten)
