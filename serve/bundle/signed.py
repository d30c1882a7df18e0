"""What a signature says: an in-toto statement about one digest, with its provenance.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

import hashlib
import os

from serve import errors
from serve.bundle import dsse
from serve.errors import OtherKeyError, SignatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from serve.bundle.keys import Key

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "urn:lamda:provenance:v1"
FILE = "manifest.json.dsse"
"""The envelopes of a bundle, beside its manifest: one a line."""


def require(
    envelopes: Sequence[bytes], subject: str, keys: Sequence[Key], what: str
) -> dict[str, Any]:
    """The statement about `subject`, a SHA-256 in hex, that one of the keys signed.

    Raises:
        SignatureError: no envelope holds one; the text says why of the one that came nearest.
    """
    refused: list[SignatureError] = []
    for envelope in envelopes[: dsse.MOST]:
        try:
            return _statement(dsse.opened(envelope, keys, what), subject, what)
        except SignatureError as error:
            refused.append(error)
    if not refused:
        raise SignatureError(errors.NOT_SIGNED.format(what=what))
    raise max(refused, key=lambda error: not isinstance(error, OtherKeyError))


def require_manifest(directory: str, data: bytes, keys: Sequence[Key]) -> dict[str, Any]:
    """The statement about the bytes of a bundle's manifest that one of the keys signed.

    Raises:
        SignatureError: as `require`, or the bundle is not signed.
    """
    return require(lines(directory), hashlib.sha256(data).hexdigest(), keys, directory)


def lines(directory: str) -> list[bytes]:
    """The envelopes of a bundle.

    Raises:
        SignatureError: they can not be read.
    """
    try:
        with open(os.path.join(directory, FILE), "rb") as file:
            data = file.read(dsse.LARGEST * 2)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as reason:
        text = errors.BAD_ENVELOPE.format(what=directory, why=f"{FILE}: {reason.strerror}")
        raise SignatureError(text) from None
    return data.splitlines() or [b""]


def subjects(payload: bytes) -> list[str | None]:
    """The SHA-256 of everything that a statement is about, in hex."""
    value = dsse.parsed(payload, FILE)
    entries = value.get("subject") if isinstance(value, dict) else None
    return [_digest(entry) for entry in entries] if isinstance(entries, list) else []


def _statement(payload: bytes, subject: str, what: str) -> dict[str, Any]:
    value = dsse.parsed(payload, what)
    said = value if isinstance(value, dict) else {}
    kinds = said.get("_type"), said.get("predicateType")
    if kinds != (STATEMENT, PROVENANCE):
        expected = f"{STATEMENT} with {PROVENANCE}"
        text = errors.OTHER_STATEMENT.format(what=what, expected=expected, found=kinds)
        raise SignatureError(text)
    found = subjects(payload)
    if subject not in found or not isinstance(value.get("predicate"), dict):
        named = ", ".join(map(str, found)) or "nothing"
        text = errors.OTHER_SUBJECT.format(what=what, expected=subject, found=named)
        raise SignatureError(text)
    return value


def _digest(subject: Any) -> str | None:
    digest = subject.get("digest") if isinstance(subject, dict) else None
    found = digest.get("sha256") if isinstance(digest, dict) else None
    return found if isinstance(found, str) else None
