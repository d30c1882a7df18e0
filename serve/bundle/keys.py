"""Public keys: ed25519, as PEM files. The package `cryptography` is imported where one is read."""

from __future__ import annotations

import hashlib
import os

from serve import errors
from serve.errors import SignatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from typing import TypeAlias

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    Given: TypeAlias = str | PathLike[str] | bytes

REQUIRED = "LAMDA_REQUIRE_KEY"


class Key:
    """A public key: `keyid` is the SHA-256 of its DER form.

    `openssl pkey -pubin -in KEY.pub -outform DER | sha256sum` says the same.
    """

    __slots__ = ("_public", "keyid")

    def __init__(self, public: Ed25519PublicKey) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._public = public
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.keyid = hashlib.sha256(der).hexdigest()

    def holds(self, signature: bytes, data: bytes) -> bool:
        """Whether the owner of the key signed these bytes."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def read(key: Given) -> Key:
    """The public key of a PEM file, or of the bytes of one.

    Raises:
        SignatureError: it is missing, of another algorithm, or no public key.
    """
    if isinstance(key, bytes):
        return _parsed(key, "the key given")
    path = os.fspath(key)
    try:
        with open(path, "rb") as file:
            return _parsed(file.read(1 << 16), path)
    except OSError as reason:
        text = errors.NO_KEY.format(path=path, reason=reason.strerror)
        raise SignatureError(text) from None


def trusted(keys: Given | Iterable[Given] | None) -> list[Key] | None:
    """The keys that are trusted: those given, else those of $LAMDA_REQUIRE_KEY.

    That variable holds a path, or several as in $PATH. `None` where nothing has to be signed.

    Raises:
        SignatureError: as `read`, or there is no key at all.
    """
    if keys is None:
        if (named := os.environ.get(REQUIRED)) is None:
            return None
        keys = [path for path in named.split(os.pathsep) if path]
    elif isinstance(keys, str | bytes | os.PathLike):
        keys = [keys]
    found = [read(key) for key in keys]
    if not found:
        raise SignatureError(errors.NO_KEYS.format(variable=REQUIRED))
    return found


def _parsed(pem: bytes, source: str) -> Key:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise SignatureError(errors.NO_CRYPTOGRAPHY) from None
    if pem.count(b"-----BEGIN ") > 1:  # the second would be left out, silently
        raise SignatureError(errors.NOT_PUBLIC.format(path=source, found="several keys in one"))
    try:
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        what = "a private key" if b"PRIVATE KEY" in pem else "something else"
        raise SignatureError(errors.NOT_PUBLIC.format(path=source, found=what)) from None
    if not isinstance(public, Ed25519PublicKey):
        what = f"a key of another algorithm ({type(public).__name__})"
        raise SignatureError(errors.NOT_PUBLIC.format(path=source, found=what))
    return Key(public)
