"""The deployed side: load a bundle, answer requests. Needs neither jax nor lamda nor numpy."""

from __future__ import annotations

from serve.errors import BundleError, PluginError, RequestError, ServeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

    from serve.handler import Handler

__all__ = ["BundleError", "PluginError", "RequestError", "ServeError", "load"]


def load(directory: str | PathLike[str], plugin: str | None = None) -> Handler:
    """`load(directory)(body)` is the bundle's answer to a request: bytes to bytes.

    `plugin` is the path of a PJRT plugin; else $LAMDA_PJRT_PLUGIN is one, or a known package is
    installed, or jax is.

    Raises:
        BundleError: the directory is not a bundle, or a file in it is not what it should be.
        PluginError: nothing here can run it; the message says what to install.
    """
    from os import fspath

    from serve import bundle
    from serve.handler import Handler
    from serve.runtime import engine

    read = bundle.read(fspath(directory))
    return Handler(read, engine.open(read, plugin))
