"""Untying: the same numbers, trained apart."""

from lamda.model import Model, models
from lamda.term import Slot, Token, rename


def fresh(f: Model) -> Model:
    """``fresh(f)(x)`` is ``f(x)``, and no weight of it is tied to one of ``f``.

    What is tied inside of ``f`` stays tied inside of it, what is frozen stays frozen, what is open
    stays open.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[]", name="f")
    >>> list((f >> f).weights), list((f >> fresh(f)).weights)
    (['f'], ['f', 'f_1'])

    Laws: the function is the same, so the address is; the program of ``branch(f, fresh(f))`` runs
    both, as training makes them differ.
    """
    models("fresh", [f])
    tokens = {token: Token() for token in dict.fromkeys(slot.token for slot in f.slots)}

    def moved(slot: Slot) -> Slot:
        return Slot(tokens[slot.token], slot.frozen)

    bound = {moved(slot): f.environment[slot] for slot in f.slots if slot in f.environment}
    return f.derive(rename(f.term, moved), bound)
