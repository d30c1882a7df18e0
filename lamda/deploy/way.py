"""One way to deploy to a platform."""

from collections.abc import Callable
from typing import NamedTuple

from lamda.deploy.folder import Folder
from lamda.deploy.function import Function


class Way(NamedTuple):
    """What is written, what it may be, and what to run then."""

    write: Callable[[Function, Folder], None]
    command: tuple[str, ...]
    """Lines, with {out}, {name}, {image}, {memory}, {timeout} to be filled in."""
    limit: str | None = None
    """The name of its limits in limits.toml, where any are documented."""
    memory: int = 2048
    """MB, where nothing is said."""
    timeout: int = 60
    """Seconds, where nothing is said."""
