"""Printing: Hypothesis shows a drawn model as Python that makes it again.

Its printer asks a value for ``_repr_pretty_(printer, cycle)``, the public protocol that IPython has
too. Models get it here and not in the language, which does not know of Hypothesis.
"""

from typing import Any

from lamda.model import Model
from lamda.testing.source import expression


def register() -> None:
    """Models are printed as :func:`lamda.testing.source.expression` writes them."""
    Model._repr_pretty_ = _printed  # type: ignore[attr-defined]


def _printed(model: Model, printer: Any, cycle: bool) -> None:
    printer.text(expression(model))
