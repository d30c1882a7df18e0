"""What is done once, before the first event: Lambda gives 10 s for it, and a whole CPU."""

from __future__ import annotations

import os

from serve import start
from serve.errors import BundleError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from serve.handler import Handler


def load(directory: str | None = None) -> Handler:
    """The handler of a bundle, of LAMDA_BUNDLE where none is named, with every program loaded.

    Where a bundle has many programs and needs few, LAMDA_WARM=0 leaves each to its first request.

    Raises:
        BundleError: a variable is not what it should be; and as serve.load.
        PluginError: as serve.load.
    """
    if os.environ.get("LAMDA_RESULTS"):
        from serve.aws import results

        results.place()  # what is wrong with it is better known now
    return start.load("lambda", directory)


def variable(name: str, expected: str) -> str:
    """A variable of the environment that has to be set.

    Raises:
        BundleError: it is not.
    """
    value = os.environ.get(name)
    if not value:
        raise BundleError(f"{name} is not set: expected {expected}")
    return value
