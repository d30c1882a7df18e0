"""Source: Python that makes a model again."""

import re
from typing import Any

from lamda import errors, types
from lamda.model import Model
from lamda.testing.writer import Writer, branched, identity

IMPORTS = {
    "jax": "import jax",
    "jnp": "import jax.numpy as jnp",
    "lm": "import lamda as lm",
    "kinds": "from lamda import kinds",
    "joined": "from lamda.combinators.joined import joined",
    "control": "from lamda.combinators.control import control",
    "negative": "from lamda.lift.arithmetic import negative",
    "pair": "from lamda.lift.arithmetic import pair",
    "beside": "from lamda.lift.arithmetic import beside",
    "Model": "from lamda.model import Model",
    "Lift": "from lamda.term import Lift",
    "parts": "from lamda.testing import parts",
}
"""What the names in a text stand for."""


def source(model: Model) -> str:
    """Python that makes the model again: what it defines last is ``model``.

    Parts that are shared or tied, and parts with weights, are variables. What no text makes again,
    a lambda or a function inside of another, is left as ``...``, with the place of its making.

    >>> import lamda as lm
    >>> from lamda.testing import parts
    >>> double = lm.lift(parts.double, input="float32[b]")
    >>> print(source(double >> double))
    import lamda as lm
    from lamda.testing import parts
    <BLANKLINE>
    double = lm.lift(parts.double, input='float32[b]')
    model = double >> double

    Law: what it makes has the address of the model, and its ties.
    """
    writer, text = _written(model, inline=False)
    lines = [*writer.lines, f"model = {text}"]
    return "\n".join([*imports("\n".join(lines), writer.modules), "", *lines])


def expression(model: Model) -> str:
    """The same as one expression: what is shared is named where it stands first.

    >>> import lamda as lm
    >>> from lamda.testing import parts
    >>> double = lm.lift(parts.double, input="float32[b]")
    >>> print(expression(double >> double))
    (double := lm.lift(parts.double, input='float32[b]')) >> double
    """
    return _written(model, inline=True)[1]


def imports(text: str, modules: set[str]) -> list[str]:
    """The imports that a text needs."""
    code = re.sub(r"'[^']*'|#.*", "", text)
    names = {*re.findall(r"(?<![\w.])[A-Za-z_]\w*", code)}
    return [line for name, line in IMPORTS.items() if name in names] + [
        f"import {module}" for module in sorted(modules)
    ]


def _written(model: Model, *, inline: bool) -> tuple[Writer, str]:
    """The text, with what it takes to say the types of the model.

    That is nothing where its parts say them; or the identity at the input type, before all; or,
    where parts of a branch declare more than they are given and do not fit at that, before each.
    """
    writer = Writer(model, inline=inline)
    made = _made(writer, writer.text)
    if isinstance(made, errors.MismatchError) and model.input is not None:
        writer = Writer(model, inline=inline, inputs=branched(model))
        made = _made(writer, writer.text)
    if model.input is None or made is None or _has_input(made, model):
        return writer, writer.text
    at = identity(model.input)
    return writer, at if writer.text == "lm.identity" else f"{at} >> {writer.text}"


def _made(writer: Writer, text: str) -> Any:
    """What a text makes, or why it does not fit; None where no text makes a part again."""
    lines = [*writer.lines, f"made = {text}"]
    scope: dict[str, Any] = {}
    try:
        exec("\n".join([*imports("\n".join(lines), writer.modules), *lines]), scope)
    except errors.MismatchError as error:
        return error
    except Exception:
        return None
    return scope["made"]


def _has_input(made: Any, model: Model) -> bool:
    if not isinstance(made, Model) or made.input is None:
        return False
    return types.plain(made.input) == types.plain(model.require_input())
