"""The deployed side: load a bundle, answer requests. Needs neither jax nor lamda nor numpy."""

from __future__ import annotations

from serve.errors import BundleError, PluginError, RequestError, ServeError, SignatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from serve.bundle import Bundle
    from serve.bundle.keys import Key
    from serve.handler import Handler

__all__ = ["BundleError", "PluginError", "RequestError", "ServeError", "SignatureError", "load"]


def load(
    directory: str | PathLike[str],
    plugin: str | None = None,
    trusted: Iterable[str | PathLike[str] | bytes] | None = None,
    verify: str | None = None,
) -> Handler:
    """`load(directory)(body)` is the bundle's answer to a request: bytes to bytes.

    `plugin` is the path of a PJRT plugin; else $LAMDA_PJRT_PLUGIN is one, or a known package is
    installed, or jax is.

    `trusted` are public keys, PEM files or their bytes: what none of them signed is refused
    (docs/store.md). Left out, $LAMDA_REQUIRE_KEY names them; without it nothing has to be signed.

    `verify` says when the files that are only mapped, weights and a plugin in the bundle, are
    hashed: "recorded", when this machine has not hashed them since they were written; "always";
    or "never", for a platform that has checked the package. Left out, $LAMDA_VERIFY says so.

    Raises:
        SignatureError: a key is required, and none that is trusted signed the bundle.
        BundleError: the directory is not a bundle, or a file in it is not what it should be.
        PluginError: nothing here can run it; the message says what to install.
    """
    from serve.handler import Handler
    from serve.runtime import engine

    bundle = _read(directory, trusted, verify)
    return Handler(bundle, engine.open(bundle, plugin))


def _read(
    directory: str | PathLike[str],
    trusted: Iterable[str | PathLike[str] | bytes] | None,
    verify: str | None,
) -> Bundle:
    from os import environ, fspath

    from serve import bundle

    hashing = verify or environ.get("LAMDA_VERIFY") or bundle.HASHING[0]
    return bundle.read(fspath(directory), _keys(trusted), hashing)


def _keys(trusted: Iterable[str | PathLike[str] | bytes] | None) -> list[Key] | None:
    from os import environ

    if trusted is None and "LAMDA_REQUIRE_KEY" not in environ:
        return None
    from serve.bundle import keys

    return keys.trusted(trusted)
