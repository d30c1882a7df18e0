"""The lifted functions behind joins, by name: what ``repr`` of one says."""

from lamda.combinators.compose import identity
from lamda.combinators.ensemble import ensemble
from lamda.combinators.join import add, concat, multiply, stack
from lamda.combinators.mixture import mixture
from lamda.function import Function
from lamda.term import Compose, Lift


def joined(name: str, *parameters: int) -> Function:
    """``joined("add")`` is the function that :func:`lamda.add` applies to what its parts give.

    >>> joined("concat", -1)
    joined('concat', -1)

    Raises KeyError for a name that no join has.
    """
    two = identity, identity
    made = {
        "add": lambda: add(*two),
        "multiply": lambda: multiply(*two),
        "concat": lambda axis: concat(*two, axis=axis),
        "stack": lambda axis: stack(*two, axis=axis),
        "mean": lambda: ensemble(two, reduce="mean"),
        "max": lambda: ensemble(two, reduce="max"),
        "mix": lambda: mixture(identity, two),
    }[name](*parameters)
    assert isinstance(made.term, Compose)
    last = made.term.parts[-1]
    assert isinstance(last, Lift)
    return last.function
