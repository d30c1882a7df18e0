"""Transfer: versions go to a remote and come from it, each blob once.

What is named is sent after what it names: blobs, config, manifest, and the versions before first.
So whoever reads a remote at any moment finds whole versions, and a transfer that was cut short
goes on where it stopped.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lamda.store import layout
from lamda.store.remote import Remote, open_remote
from lamda.store.remote.moved import Moved as Moved
from lamda.store.remote.pull import pull as pull
from lamda.store.remote.push import push as push

if TYPE_CHECKING:
    from lamda.store.store import Store


def opened(store: "Store", url: str) -> Remote:
    """The remote of a URL, for a store. Raises SpecError."""
    return open_remote(url, store.path / layout.REMOTES)


def require(url: str) -> None:
    """Raises SpecError for what is no URL of a remote; nobody is asked."""
    open_remote(url, Path(os.devnull))
