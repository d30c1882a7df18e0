"""Arithmetic: the lifted functions behind ``+ - * / @`` and unary ``-``.

A function of two takes a pair, broadcasts as numpy does, and promotes no dtype. With a Python
number it takes the other side alone, and the number takes its dtype. Functions of one name are
equal, and made once, so that each is traced once a type. Where shapes are equal, ``x + y`` has the
address of ``lm.add``.
"""

import operator
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from lamda.function import Function

OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "matmul": operator.matmul,
}


@cache
def pair(name: str) -> Function:
    """``pair("divide")`` is ``(x, y) -> x / y``."""
    function = OPERATORS[name]
    key = ("operator", name)
    return Function(lambda _, x: function(x[0], x[1]), key=key, name=name, where="lamda",
                    text=f"pair({name!r})")  # fmt: skip


def beside(name: str, number: complex, left: bool) -> Function:
    """``beside("divide", 2, left=True)`` is ``x -> 2 / x``; not ``left``, it is ``x -> x / 2``."""
    # 2, 2.0 and True are equal as Python numbers, and so are 0.0 and -0.0: their texts differ.
    return _beside(name, number, repr(number), left)


@lru_cache(maxsize=1024)
def _beside(name: str, number: complex, text: str, left: bool) -> Function:
    function = OPERATORS[name]

    def call(_: Any, x: Any) -> Any:
        return function(number, x) if left else function(x, number)

    made = f"beside({name!r}, {text}, {left})"
    key = ("operator", name, text, left)
    return Function(call, key=key, name=name, where="lamda", text=made)


@cache
def negative() -> Function:
    """``x -> -x``."""
    key = ("operator", "negative")
    return Function(lambda _, x: -x, key=key, name="negative", where="lamda", text="negative()")
