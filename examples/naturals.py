"""Natural numbers as functions that answer "who", "pred" and "succ".

A numeral is a version of a model: ZERO is a first version, and each number is the successor of
the one before. `add` is what it is on the numerals of the lambda calculus: it replays the
successors of one number on the other.
"""

import jax.numpy as jnp

import lamda as lm

ZERO = lm.lift(lambda n, x: x + n, jnp.float32(0), input="float32[]", name="ZERO")
"""The function ``x -> x + n``, at its first version, where ``n`` is 0."""


def succ(n: lm.Model) -> lm.Model:
    """The next version, with the next weight."""
    return lm.succ(n, n.weights + 1)


def add(m: lm.Model, n: lm.Model) -> lm.Model:
    """``m + 0`` is ``m``, and ``m + succ(n)`` is ``succ(m + n)``."""
    before = lm.pred(n)
    return m if before is None else succ(add(m, before))


def show(n: lm.Model) -> str:
    """How a number came to be, read from its versions."""
    before = lm.pred(n)
    return n.name if before is None else f"SUCC({show(before)})"


def main() -> None:
    two = succ(succ(ZERO))
    three = succ(two)
    print(show(ZERO))
    print(show(two))
    print(show(two("pred")))
    print(show(add(two, three)))
    # Who a number is does not depend on how it came to be.
    assert lm.who(add(two, three)) == lm.who(add(three, two))


if __name__ == "__main__":
    main()
