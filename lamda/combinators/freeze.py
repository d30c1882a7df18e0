"""Freezing: weights that training does not see."""

from typing import Any

from lamda.model import Model
from lamda.term import Slot, rename


def freeze(model: Model, what: Any = None) -> Model:
    """``freeze(f)(x)`` is ``f(x)``, and no weight of it is trained.

    ``freeze(m, "encoder")`` freezes a part, chosen as in :func:`lamda.select`.

    A frozen weight is absent from ``model.weights`` and from the leaves of the pytree, so no
    gradient of it is ever computed. The function is the same, so the address is the same; other
    models that share the part are as they were.

    >>> import jax, jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda w, x: x * w, weights=jnp.float32(2), input="float32[]")
    >>> jax.tree.leaves(freeze(f)), freeze(f).address == f.address
    ([], True)
    """

    if what is not None:
        from lamda.surgery import select

        return select(model, what).apply(freeze)

    def frozen(slot: Slot) -> Slot:
        return Slot(slot.token, frozen=True)

    return model.derive(
        rename(model.term, frozen),
        {frozen(slot): weights for slot, weights in model.environment.items()},
    )
