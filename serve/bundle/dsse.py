"""DSSE: bytes, and who signed them (https://github.com/secure-systems-lab/dsse, version 1).

What is signed is not the payload alone but its type, too, and the length of both, so that one
signature never fits two readings.
"""

from __future__ import annotations

import base64
import json

from serve import errors
from serve.errors import OtherKeyError, SignatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from serve.bundle.keys import Key

INTOTO = "application/vnd.in-toto+json"
LARGEST = 1 << 20
MOST = 64
"""Signatures of one envelope that are looked at."""


def pae(kind: str, payload: bytes) -> bytes:
    """What is signed of a payload: the pre-authentication encoding.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def sealed(payload: bytes, signatures: Sequence[tuple[str, bytes]]) -> bytes:
    """The envelope of a payload with `(keyid, signature)` of its `pae`, as one line of JSON."""
    value = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": INTOTO,
        "signatures": [
            {"keyid": keyid, "sig": base64.b64encode(signature).decode()}
            for keyid, signature in signatures
        ],
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def opened(envelope: bytes, keys: Sequence[Key], what: str) -> bytes:
    """The payload of an envelope, which one of the keys signed. `what` names it in errors.

    Raises:
        SignatureError: it is no envelope, its payload is of another type, or no key signed it.
    """
    value = _object(envelope, what)
    payload, entries = _decoded(value.get("payload"), "payload", what), value.get("signatures")
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST:
        raise _malformed(what, f"signatures is no list of 1 to {MOST}")
    signatures = [_signature(entry, what) for entry in entries]
    signed = pae(INTOTO, payload)
    # A keyid is a hint that anybody may write: every trusted key is asked.
    if any(key.holds(signature, signed) for key in keys for _, signature in signatures):
        return payload
    claimed = [name for name, _ in signatures]
    wanted = [key.keyid for key in keys]
    if set(claimed) & set(wanted):
        raise SignatureError(errors.CHANGED_PAYLOAD.format(what=what))
    raise OtherKeyError(errors.OTHER_KEY.format(
        what=what, wanted=" or ".join(wanted), found=", ".join(map(_shown, claimed))
    ))  # fmt: skip


def content(envelope: bytes, what: str) -> bytes:
    """The payload of an envelope, whoever signed it: nothing to be believed."""
    return _decoded(_object(envelope, what).get("payload"), "payload", what)


def _object(envelope: bytes, what: str) -> dict[str, Any]:
    value = parsed(envelope, what)
    if not isinstance(value, dict):
        raise _malformed(what, "it is no object")
    if (kind := value.get("payloadType")) != INTOTO:
        text = errors.OTHER_PAYLOAD.format(what=what, expected=INTOTO, found=str(kind)[:80])
        raise SignatureError(text)
    return value


def parsed(data: bytes, what: str) -> Any:
    """Strict JSON: UTF-8, no key twice, no NaN, of at most LARGEST bytes."""
    if len(data) > LARGEST:
        raise _malformed(what, f"it has {len(data):,} bytes, more than {LARGEST:,}")
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError) as reason:
        raise _malformed(what, f"it is no strict JSON: {reason}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _signature(entry: Any, what: str) -> tuple[str, bytes]:
    if not isinstance(entry, dict) or not isinstance(entry.get("keyid", ""), str):
        raise _malformed(what, "a signature is no object with a text as keyid")
    return entry.get("keyid", "")[:64], _decoded(entry.get("sig"), "sig", what)


def _shown(keyid: str) -> str:
    """A keyid as errors tell it: whoever wrote it might have written to a terminal."""
    return keyid if keyid.isascii() and keyid.isalnum() else ascii(keyid)


def _decoded(text: Any, name: str, what: str) -> bytes:
    """Base64 in either alphabet, as DSSE has it."""
    try:
        return base64.b64decode(text.translate({45: 43, 95: 47}), validate=True)
    except (AttributeError, ValueError):
        raise _malformed(what, f"{name} is no base64") from None


def _malformed(what: str, why: str) -> SignatureError:
    return SignatureError(errors.BAD_ENVELOPE.format(what=what, why=why))
