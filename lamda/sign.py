"""Signatures: an in-toto statement about a manifest, in a DSSE envelope, by an ed25519 key.

``serve.bundle`` reads them (``dsse``, ``signed``); only here are they made, offline, by a key in a
PEM file.
"""

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamda import errors
from serve.bundle import dsse, signed
from serve.bundle.keys import Key, trusted
from serve.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from serve.bundle.keys import Given

LARGEST = 1 << 16
"""Bytes of a file that may be a key."""


def keygen(path: str | Path) -> str:
    """Write a new key: ``path`` with ``.key``, for you alone, and ``.pub``; its keyid.

    Raises SpecError where one of them is there already, OSError where they can not be written:
    then there is neither.
    """
    private, public = Path(f"{path}.key"), Path(f"{path}.pub")
    for each in (private, public):
        if os.path.lexists(each):
            raise errors.SpecError(errors.KEY_EXISTS.format(path=each))
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    _write(private, 0o600, key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    ))  # fmt: skip
    try:
        _write(public, 0o644, key.public_key().public_bytes(
            form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
        ))  # fmt: skip
    except OSError:
        private.unlink()
        raise
    return Key(key.public_key()).keyid


def _write(path: Path, mode: int, data: bytes) -> None:
    """Write a new file and flush it, or leave none: a key can not be made again."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink()
        raise


def statement(subject: str, name: str, provenance: dict[str, Any]) -> bytes:
    """The statement about a manifest: its digest, and where it comes from."""
    value = {
        "_type": signed.STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": subject.removeprefix("sha256:")}}],
        "predicateType": signed.PROVENANCE,
        "predicate": provenance | {p: version(p) for p in ("jax", "lamda")},
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def envelope(payload: bytes, key: str | Path) -> tuple[str, bytes]:
    """The keyid of a private key, and its envelope of a statement. Raises SpecError."""
    private = _private(Path(key))
    keyid = Key(private.public_key()).keyid
    return keyid, dsse.sealed(payload, [(keyid, private.sign(dsse.pae(dsse.INTOTO, payload)))])


def require(
    envelopes: Sequence[bytes], subject: str, keys: "Given | Sequence[Given]", what: str
) -> dict[str, Any]:
    """The statement about a manifest that one of the keys signed. Raises StoreError."""
    try:
        known = trusted(keys) or trusted([])  # which refuses where no key is named at all
        assert known is not None
        return signed.require(envelopes, subject.removeprefix("sha256:"), known, what)
    except SignatureError as error:
        raise errors.StoreError(str(error)) from error


def require_address(stated: dict[str, Any], address: str, what: str) -> None:
    """Raises StoreError where a statement tells of another model than it is about."""
    if (said := stated["predicate"].get("address")) != address:
        text = errors.OTHER_STATED.format(what=what, stated=said, found=address)
        raise errors.StoreError(text)


def _private(path: Path) -> "Ed25519PrivateKey":
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST)
    except OSError as error:
        text = errors.NO_PRIVATE_KEY.format(path=path, error=error.strerror)
        raise errors.MissingError(text) from None
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise _not_private(path, "one that is encrypted with a password") from None
    except (ValueError, UnsupportedAlgorithm):
        what = "a public key" if b"PUBLIC KEY" in data else "something else"
        raise _not_private(path, what) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_private(path, f"a key of another algorithm ({type(key).__name__})")
    return key


def _not_private(path: Path, found: str) -> errors.SpecError:
    return errors.SpecError(errors.NOT_PRIVATE.format(path=path, found=found))


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        text = errors.NO_EXTRA.format(package="cryptography", extra="sign")
        raise errors.SpecError(text) from None
