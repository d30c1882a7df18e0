"""Abstraction: alpha, beta and eta; functions of one thing at a time."""

from typing import Any

from hypothesis import strategies as st

import lamda as lm
from lamda import errors
from lamda.model import Model
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, broken, law
from lamda.testing.level import Level
from lamda.testing.reference import reference
from lamda.testing.suites.cartesian import CARTESIAN, beside
from lamda.testing.suites.category import chain, identity_at


@law("fn(lambda x: f(x)) = f", Level.TERM)
def eta(draw: Draw):
    f = draw.model()
    return lm.fn(lambda x: f(x)), f


@law("fn(lambda x: g(f(x))) = f >> g", Level.ADDRESS)
def applying_one_after_the_other(draw: Draw):
    f, g = chain(draw, 2)
    return lm.fn(lambda x: g(f(x))), f >> g


@law("fn(lambda x: fn(body)(f(x))) = fn(lambda x: body(f(x)))", Level.ADDRESS)
def beta(draw: Draw):
    f, g = chain(draw, 2)

    def body(y: Any) -> Any:
        return {"g": g(y), "y": (y,)}

    return lm.fn(lambda x: lm.fn(body)(f(x))), lm.fn(lambda x: body(f(x)))


@law("names of arguments leave no trace", Level.ADDRESS)
def alpha(draw: Draw):
    f, g = draw.model(), draw.model("g")
    left = lm.fn(lambda x, y: (g(y), f(x)))
    right = lm.fn(lambda y, x: (g(x), f(y)))
    return left, right


@law("a variable is that of the innermost function", Level.ADDRESS)
def no_variable_is_captured(draw: Draw):
    f, g = draw.model(), draw.model("g")
    inner = lm.fn(lambda x: {"f": f(x)})
    return lm.fn(lambda x, y: (inner(x), g(y))), lm.branch(f=f) @ g


@law("a model is closed: a symbol of another function is refused in it", Level.TYPE)
def models_are_closed(draw: Draw):
    f, g = beside(draw, 2)
    try:
        made = lm.fn(lambda x: lm.fn(lambda y: (f(y), x))(g(x)))
    except errors.SpecError:
        return
    except errors.MismatchError:  # the inner function captured the symbol, and it does not fit
        made = "a function that does not fit"
    raise broken(errors.SIDES.format(left=repr(made), right="SpecError"))


@law("what is applied once and used twice is f >> branch(g, h)", Level.ADDRESS)
def sharing_by_name(draw: Draw):
    f, g = chain(draw, 2)
    h = draw.after(f, "h")

    def shared(x: Any) -> Any:
        y = f(x)
        return g(y), h(y)

    return lm.fn(shared), f >> (g & h)


@law("what is not used is discarded", Level.ADDRESS)
def discarding_by_name(draw: Draw):
    f, g = beside(draw, 2)
    return lm.fn(lambda x: (g(x), f(x))[1]), f


@law("partial(f, v) = branch(const(v), identity) >> f", Level.ADDRESS)
def fixing_is_pairing_with_a_constant(draw: Draw):
    f, v, at = fixed(draw)
    made = lm.partial(f, v, at)
    pair = (lm.const(v), lm.identity)
    return made, identity_at(made.require_input()) >> lm.branch(*pair[:: 1 - 2 * at]) >> f


@law("partial(f, v, at=1) = partial(swap >> f, v)", Level.ADDRESS)
def fixing_the_other_by_swapping(draw: Draw):
    f, v, _ = fixed(draw, at=1)
    made = lm.partial(f, v, at=1)
    return made, identity_at(made.require_input()) >> lm.partial(lm.swap >> f, v)


@law("apply(curry(f), v) = curry(f)(v) = partial(f, v)", Level.ADDRESS)
def currying(draw: Draw):
    f, v, _ = fixed(draw, at=0)
    left, right = lm.apply(lm.curry(f), v), lm.curry(f)(v)
    return left & right, lm.partial(f, v) & lm.partial(f, v)


@law("partial(f, v)(y) = f((v, y))", Level.VALUE)
def fixing_is_applying_in_part(draw: Draw):
    f, v, at = fixed(draw)
    made = lm.partial(f, v, at)
    y = draw.input(made, "y")
    return reference(made, y), reference(f, (v, y) if at == 0 else (y, v))


def fixed(draw: Draw, at: int | None = None) -> tuple[Model, Any, int]:
    """A function of a pair, a value for one component of it, and which that is."""
    parts = draw.model(), draw.model("g")
    at = draw(st.integers(0, 1), "at") if at is None else at
    return parts[0] @ parts[1], draw.input(parts[at], "v"), at


CLOSED = Suite(
    "closed",
    (
        eta,
        applying_one_after_the_other,
        beta,
        alpha,
        no_variable_is_captured,
        models_are_closed,
        sharing_by_name,
        discarding_by_name,
        fixing_is_pairing_with_a_constant,
        fixing_the_other_by_swapping,
        currying,
        fixing_is_applying_in_part,
    ),
    (CARTESIAN,),
)
