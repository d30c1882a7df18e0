"""The deployed side: load a bundle, answer requests. Needs neither jax nor lamda nor numpy."""

from __future__ import annotations

from serve.errors import BundleError, PluginError, RequestError, ServeError, SignatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from serve.handler import Handler
    from serve.keys import Key

__all__ = ["BundleError", "PluginError", "RequestError", "ServeError", "SignatureError", "load"]


def load(
    directory: str | PathLike[str],
    plugin: str | None = None,
    trusted: Iterable[str | PathLike[str] | bytes] | None = None,
) -> Handler:
    """`load(directory)(body)` is the bundle's answer to a request: bytes to bytes.

    `plugin` is the path of a PJRT plugin; else $LAMDA_PJRT_PLUGIN is one, or a known package is
    installed, or jax is.

    `trusted` are public keys, PEM files or their bytes: what none of them signed is refused
    (docs/store.md). Left out, $LAMDA_REQUIRE_KEY names them; without it nothing has to be signed.

    Raises:
        SignatureError: a key is required, and none that is trusted signed the bundle.
        BundleError: the directory is not a bundle, or a file in it is not what it should be.
        PluginError: nothing here can run it; the message says what to install.
    """
    from os import fspath

    from serve import bundle
    from serve.handler import Handler
    from serve.runtime import engine

    read = bundle.read(fspath(directory), _keys(trusted))
    return Handler(read, engine.open(read, plugin))


def _keys(trusted: Iterable[str | PathLike[str] | bytes] | None) -> list[Key] | None:
    from os import environ

    if trusted is None and "LAMDA_REQUIRE_KEY" not in environ:
        return None
    from serve import keys

    return keys.trusted(trusted)
