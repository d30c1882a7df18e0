"""The forms of requests and answers, and which of them a client means."""

from __future__ import annotations

from serve.errors import RequestError
from serve.lists import shown

JSON = "application/json"
MSGPACK = "application/msgpack"
NPY = "application/x-npy"
TEXT = "text/plain"

UNSAID = "application/x-www-form-urlencoded"  # what curl and urllib say of a body by default


def requested(content_type: str | None, offered: list[str]) -> str:
    """The form of a request; where the client names none it is JSON.

    Raises:
        RequestError: 415, it is none of those offered.
    """
    form = (content_type or JSON).partition(";")[0].strip().lower()
    form = JSON if form == UNSAID else form
    if form not in offered:
        text = f"expected the content type {' or '.join(offered)}, got {shown(form)}"
        raise RequestError(text, 415)
    return form


def accepted(accept: str | None, offered: list[str]) -> str:
    """The form of the answer: of those offered, best first, the one that Accept likes most.

    Raises:
        RequestError: 406, it accepts none of those offered.
    """
    if not accept:
        return offered[0]
    likes = dict(map(_like, accept.split(",")))
    quality = {form: _quality(form, likes) for form in offered}
    best = max(offered, key=quality.__getitem__)  # the first of equals
    if quality[best] == 0:
        text = f"expected Accept to name {' or '.join(offered)}, got {shown(accept)}"
        raise RequestError(text, 406)
    return best


def _quality(form: str, likes: dict[str, float]) -> float:
    ranges = (form, form.partition("/")[0] + "/*", "*/*")  # the most precise counts
    return next((likes[each] for each in ranges if each in likes), 0)


def _like(text: str) -> tuple[str, float]:
    """`application/json;q=0.5` is `("application/json", 0.5)`."""
    form, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    digits = quality.replace(".", "", 1)
    plain = digits.isascii() and digits.isdigit()
    return form, float(quality) if plain else 1.0
