"""One step of training as a program: weights, state and a batch give weights, state and loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lamda import digest, errors, evaluate, purity, types
from lamda.address import sha256
from lamda.model import Model
from lamda.normal import Graph

Loss = Callable[[Any, Any], Any]
"""``loss(prediction, target)``: one number, or some for each example, whose mean is taken."""


@dataclass(frozen=True)
class Step:
    """``step(weights, state, features, targets, key, fixed) -> (weights, state, loss)``.

    ``features`` are what the frozen part gives for the examples of a batch, and ``fixed`` the
    frozen weights that are read all the same, as those are that an adapter is added to. With
    ``accumulate``, the gradient is the mean of those of as many parts of the batch, one after the
    other. With ``dtype``, weights and features are rounded to it before anything is computed, and
    predictions and gradients are rounded back: the weights that are trained keep their own.
    """

    model: Model
    back: Graph
    loss: Loss
    optimizer: Any
    generator: Any
    accumulate: int = 1
    dtype: Any = None

    def init(self, weights: Any) -> Any:
        """The first state of the optimiser."""
        return self.optimizer.init(weights)

    @property
    def fixed(self) -> list[Any]:
        """The frozen weights that a step reads."""
        return fixed(self.model, self.back)

    def mean_loss(
        self, weights: Any, features: Any, targets: Any, key: Any = None, fixed: Any = None
    ) -> jax.Array:
        """The mean loss over the examples of a batch."""
        return self.losses(weights, features, targets, key, fixed).mean()

    def losses(
        self, weights: Any, features: Any, targets: Any, key: Any = None, fixed: Any = None
    ) -> jax.Array:
        """What the loss gives: one number, or some for each example."""
        prediction = self.predict(weights, features, key, fixed)
        value = jnp.asarray(self.loss(prediction, targets))
        # (b, b), say, is what becomes of predictions (b, 1) and targets (b,).
        shapes = [leaf.shape[: value.ndim] for leaf in jax.tree.leaves((prediction, targets))]
        floating = jnp.issubdtype(value.dtype, jnp.floating)
        if not floating or (value.shape and value.shape not in shapes):
            said = {"prediction": prediction, "target": targets, "given": value}
            shown = {name: types.show(types.typeof(each)) for name, each in said.items()}
            raise errors.SpecError(errors.FIT_LOSS.format(**shown))
        return value

    def predict(self, weights: Any, features: Any, key: Any = None, fixed: Any = None) -> Any:
        """What the model gives for the features of some examples."""
        placed = self.model.place(weights)
        pairs = zip(self.back.slots, self.fixed if fixed is None else fixed, strict=True)
        arrays = [still if slot.frozen else placed[slot].arrays for slot, still in pairs]
        if self.dtype is None:
            return evaluate.run(self.back, arrays, features, key)
        kept = jax.tree.map(lambda a: a.dtype, jax.eval_shape(self._plain, arrays, features))
        try:
            found = evaluate.run(self.back, self._cast(arrays), self._cast(features), key)
        except (TypeError, ValueError) as error:
            raise errors.SpecError(errors.FIT_DTYPE.format(dtype=self.dtype, error=error)) from None
        return jax.tree.map(lambda a, dtype: a.astype(dtype), found, kept)

    def __call__(
        self, weights: Any, state: Any, features: Any, targets: Any, key: Any, fixed: Any = None
    ) -> Any:
        if key is not None:
            key = jax.random.wrap_key_data(key, impl=self.generator)
        value, gradient = self.gradient(weights, features, targets, key, fixed)

        def at(weights: Any) -> jax.Array:
            return self.mean_loss(weights, features, targets, key, fixed)

        updates, state = self.update(gradient, state, weights, value, at)
        return jax.tree.map(lambda w, u: w + u.astype(w.dtype), weights, updates), state, value

    def gradient(
        self, weights: Any, features: Any, targets: Any, key: Any, fixed: Any = None
    ) -> tuple[Any, Any]:
        """The loss of a batch and its gradient."""
        of = jax.value_and_grad(self.mean_loss)
        if self.accumulate == 1:
            return of(weights, features, targets, key, fixed)
        parts = jax.tree.map(self._split, (features, targets))

        def add(total: Any, part: Any) -> tuple[Any, None]:
            number, (x, t) = part
            drawn = None if key is None else jax.random.fold_in(key, number)
            found = of(weights, x, t, drawn, fixed)
            return jax.tree.map(lambda a, b: a + b / self.accumulate, total, found), None

        first = jax.tree.map(lambda a: a[0], parts)
        shapes = jax.eval_shape(of, weights, *first, key, fixed)
        zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        return jax.lax.scan(add, zero, (jnp.arange(self.accumulate), parts))[0]

    def update(self, gradient: Any, state: Any, weights: Any, value: Any, at: Any) -> Any:
        """What the optimiser makes of a gradient; ``at(weights)`` is the loss there."""
        if not hasattr(self.optimizer, "_fields"):  # no transformation of optax, but like one
            return self.optimizer.update(gradient, state, weights)
        import optax

        full = optax.with_extra_args_support(self.optimizer)
        return full.update(gradient, state, weights, value=value, grad=gradient, value_fn=at)

    def addresses(self, weights: Any, features: Any, targets: Any) -> tuple[str, str]:
        """The digests of what the loss and the optimiser compute, at the types of a batch.

        Raises ImpureError where the loss does anything but compute, SpecError where it does not
        take what the model gives.
        """
        w, x, t = jax.tree.map(struct, (weights, features, targets))
        predicted = jax.eval_shape(self.predict, w, x)
        try:
            purity.trace(self.loss, predicted, t, name="loss", where=_where(self.loss))
        except (TypeError, ValueError) as error:
            if isinstance(error, errors.LamdaError):
                raise
            shown = [types.show(types.typeof(each)) for each in (predicted, t)]
            text = errors.FIT_LOSS_FAILED.format(prediction=shown[0], target=shown[1], error=error)
            raise errors.SpecError(text) from None
        loss = digest.of_function(self.loss, predicted, t)
        state = jax.eval_shape(self.optimizer.init, w)
        first = digest.of_function(self.optimizer.init, w)
        value = jax.ShapeDtypeStruct((), jnp.float32)

        def update(gradient: Any, state: Any, weights: Any, value: Any) -> Any:
            return self.update(gradient, state, weights, value, lambda _: value)

        return loss, sha256(["optimizer", first, digest.of_function(update, w, state, w, value)])

    def _plain(self, arrays: Sequence[Any], features: Any) -> Any:
        return evaluate.run(self.back, arrays, features)

    def _split(self, array: jax.Array) -> jax.Array:
        return array.reshape(self.accumulate, -1, *array.shape[1:])

    def _cast(self, tree: Any) -> Any:
        return jax.tree.map(self._rounded, tree)

    def _rounded(self, array: Any) -> Any:
        return array.astype(self.dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array


def fixed(model: Model, back: Graph) -> list[Any]:
    """The frozen weights that the trained part of a model reads: one for each slot, or none."""
    read = {place for node in back.nodes for place in node.slots}
    slots = enumerate(back.slots)
    return [model.environment[s].arrays if s.frozen and i in read else None for i, s in slots]


def struct(array: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of an array."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _where(function: Any) -> str:
    """The file and line of a function, where it has one."""
    code = getattr(function, "__code__", None)
    return "an unknown place" if code is None else f"{code.co_filename}:{code.co_firstlineno}"
