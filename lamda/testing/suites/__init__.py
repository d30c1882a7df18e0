"""The suites of laws by name; each is a module of its own."""

from typing import TYPE_CHECKING

from lamda.testing.law import Suite
from lamda.testing.suites.batch import BATCH as BATCH
from lamda.testing.suites.cartesian import CARTESIAN as CARTESIAN
from lamda.testing.suites.category import CATEGORY as CATEGORY
from lamda.testing.suites.closed import CLOSED as CLOSED
from lamda.testing.suites.combinator import COMBINATOR as COMBINATOR
from lamda.testing.suites.compile import COMPILE as COMPILE
from lamda.testing.suites.control import CONTROL as CONTROL
from lamda.testing.suites.freeze import FREEZE as FREEZE
from lamda.testing.suites.handler import HANDLER as HANDLER
from lamda.testing.suites.merge import MERGE as MERGE
from lamda.testing.suites.storage import STORAGE as STORAGE
from lamda.testing.suites.store import STORE as STORE
from lamda.testing.suites.surgery import SURGERY as SURGERY
from lamda.testing.suites.typing import TYPING as TYPING
from lamda.testing.suites.versions import VERSIONS as VERSIONS
from lamda.testing.suites.weights import WEIGHTS as WEIGHTS

if TYPE_CHECKING:
    from lamda.testing.draw import Subject

ALL = (
    CATEGORY, CARTESIAN, CLOSED, CONTROL, TYPING, COMBINATOR, WEIGHTS, FREEZE, SURGERY, VERSIONS,
    MERGE, STORAGE, STORE, COMPILE, BATCH, HANDLER,
)  # fmt: skip

SUITES: dict[str, Suite] = {suite.name: suite for suite in ALL}
"""Every suite by its name, from what composes to what is deployed."""

OPT_IN = frozenset({"batch"})
"""Suites that hold of some models only: they are checked where they are named."""


def default(subject: "Subject") -> list[Suite]:
    """The suites that fit a subject, where none are named.

    Laws of combinators are checked of a combinator, and of all the language where nothing is
    given; the others of whatever is given.
    """
    return [suite for name, suite in SUITES.items() if name not in OPT_IN]
