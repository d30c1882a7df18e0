"""`of(...)` names an answer before it is computed: a handler is a function of its request."""

from __future__ import annotations

import hashlib

DIGITS = 32


def of(parts: tuple[str, ...], body: bytes) -> str:
    """The entity tag of the answer that all of these decide: the address, the forms, the body.

    It is a weak one: executables of two machines may differ in the last digit of a number.
    """
    digest = hashlib.sha256(ascii(parts).encode())  # which says where each part ends
    digest.update(body)
    return f'W/"{digest.hexdigest()[:DIGITS]}"'


def matches(wanted: str | None, tag: str) -> bool:
    """Does the header If-None-Match name the tag?"""
    if not wanted:
        return False
    opaque = tag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") == opaque for each in wanted.split(","))
