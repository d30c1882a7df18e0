"""A model in two: what training can not change, and what it changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from lamda import errors, evaluate, types
from lamda.address import sha256
from lamda.fit import features as frozen
from lamda.fit.examples import Examples
from lamda.fit.frontier import cut
from lamda.model import Model
from lamda.normal import Graph
from lamda.tensor import Weights
from lamda.term import Slot
from lamda.unify import Unifier

DRAW = 2**32 - 1
"""What the key is folded with for parts that are random."""


@dataclass(frozen=True)
class Split:
    """``model(x)`` is ``back(front(x))``, and all weights that are trained are of ``back``."""

    model: Model
    front: Graph
    back: Graph
    fixed: Mapping[Slot, Weights]
    """The weights of the front."""

    @classmethod
    def of(cls, model: Model) -> "Split":
        """A model at its frontier. Raises SpecError where nothing of it is trained."""
        if not jax.tree.leaves(model):
            raise errors.SpecError(errors.FIT_FROZEN.format(name=model))
        front, back = cut(model.program)
        fixed = {s: w for s, w in model.environment.items() if s.frozen}
        return cls(model, front, back, fixed)

    @property
    def trained(self) -> str:
        """Which weights are trained, by their places in the program and not by their names."""
        slots = [(s.frozen, self.model.environment[s].digests) for s in self.model.program.slots]
        return sha256(["trained", slots])

    def features(self, examples: Examples, shown: bool) -> Any:
        """What the front gives for every example; it is computed once, and kept."""
        return frozen.features(self.front, self.fixed, examples, shown)

    def of_batch(self) -> Callable[[Any], Any]:
        """What gives the features of a batch that comes by itself."""
        if not self.front.nodes:
            return partial(evaluate.run, self.front, [])
        return partial(frozen.run, self.front, self._weights())

    def types(self, inputs: Any, targets: Any, size: int) -> tuple[Any, Any]:
        """The types of the features and the targets of ``size`` examples."""
        x, t = (
            jax.tree.map(lambda a: jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype), tree)
            for tree in (inputs, targets)
        )
        unifier = Unifier()
        unifier.unify(types.typeof(x), self.front.input)
        known = unifier.right(self.front.gives)  # as composing found it: nothing is traced again
        if all(isinstance(dim, int) for _, leaf in types.leaves(known) for dim in leaf.shape):
            return types.structs(known), t
        return jax.eval_shape(partial(frozen.run, self.front), self._weights(), x), t

    def _weights(self) -> list[Any]:
        return frozen.loaded(self.front, self.fixed)

    def draw(self, key: jax.Array) -> Callable[[int], Any]:
        """The random key of each step, as numbers; none where nothing is random."""
        if not any(map(evaluate.draws, self.back.nodes)):
            return lambda step: None
        base = jax.random.fold_in(key, DRAW)
        return jax.jit(lambda step: jax.random.key_data(jax.random.fold_in(base, step)))
