"""What the environment says of how to serve: the same names on every platform (docs/http.md)."""

from __future__ import annotations

import os

from serve.errors import ServeError

MAX_BYTES = "LAMDA_MAX_BYTES"
MAX_SECONDS = "LAMDA_MAX_SECONDS"
DRAIN = "LAMDA_DRAIN"
LOG = "LAMDA_LOG"

WRONG = "{name} is {value!r}: expected {expected}"


def whole(name: str, usual: int) -> int:
    """A whole number from 1 on.

    Raises:
        ServeError: it is none.
    """
    text = os.environ.get(name)
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) > 0):
        raise ServeError(WRONG.format(name=name, value=text, expected="a whole number from 1"))
    return int(text)


def seconds(name: str, usual: float) -> float:
    """A number of seconds, not negative.

    Raises:
        ServeError: it is none.
    """
    text = os.environ.get(name)
    if not text:
        return usual
    plain = text.replace(".", "", 1)
    if not (plain.isascii() and plain.isdigit() and len(plain) < 10):
        expected = "a number of seconds, such as 2.5"
        raise ServeError(WRONG.format(name=name, value=text, expected=expected))
    return float(text)


def choice(name: str, choices: tuple[str, ...]) -> str:
    """One of some words; the first, where nothing is said.

    Raises:
        ServeError: it is another.
    """
    text = os.environ.get(name) or choices[0]
    if text not in choices:
        raise ServeError(WRONG.format(name=name, value=text, expected=" or ".join(choices)))
    return text
