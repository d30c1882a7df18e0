"""A function that is to be deployed: a bundle, and what a platform has to be told of it."""

from sys import version_info
from typing import NamedTuple

from lamda.deploy.contents import Contents
from serve.bundle import Bundle


class Function(NamedTuple):
    """What the templates and commands of every platform are filled with."""

    name: str
    bundle: Bundle
    contents: Contents
    image: str
    memory: int
    """MB."""
    timeout: int
    """Seconds."""

    @property
    def values(self) -> dict[str, str]:
        """By the names that templates and commands have for them."""
        return {
            "name": self.name,
            "address": self.bundle.address,
            "image": self.image,
            "memory": str(self.memory),
            "timeout": str(self.timeout),
            "milliseconds": str(1000 * self.timeout),
            "python": f"{version_info.major}.{version_info.minor}",
        }
