"""Mutants: the library with one bug, which a law must find."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from lamda.testing.law import Law


class Mutant(NamedTuple):
    """The library with one bug."""

    name: str
    """What is wrong, in words."""
    law: Law
    """The law that finds it."""
    apply: Callable[[pytest.MonkeyPatch], None]
    """Puts the bug in."""
