"""The forms of requests and answers, and which of them a client means."""

from __future__ import annotations

from serve.body.lists import shown
from serve.errors import RequestError

JSON = "application/json"
MSGPACK = "application/msgpack"
NPY = "application/x-npy"
OCTETS = "application/octet-stream"
TEXT = "text/plain"
JPEG = "image/jpeg"
PNG = "image/png"

UNSAID = "application/x-www-form-urlencoded"  # what curl and urllib say of a body by default
SAME = {
    UNSAID: JSON,
    "application/x-msgpack": MSGPACK,  # what was said before application/vnd.msgpack was registered
    "application/vnd.msgpack": MSGPACK,
}
UNICODE = ("utf-8", "utf8", "us-ascii")


def requested(content_type: str | None, offered: list[str]) -> str:
    """The form of a request; where the client names none it is JSON.

    Raises:
        RequestError: 415, it is none of those offered, or its text is not UTF-8.
    """
    if not content_type or content_type == JSON:
        return JSON
    form = content_type.partition(";")[0].strip().lower()
    form = SAME.get(form, form)
    if form not in offered:
        text = f"expected the content type {' or '.join(offered)}, got {shown(form)}"
        raise RequestError(text, 415)
    if form in (JSON, TEXT) and ";" in content_type:
        charset = parameters(content_type).get("charset", "utf-8")
        if charset.lower() not in UNICODE:
            raise RequestError(f"expected the charset utf-8, got {shown(charset)}", 415)
    return form


def parameters(content_type: str | None) -> dict[str, str]:
    """`application/octet-stream; b=3` has the parameters `{"b": "3"}`."""
    parts = (content_type or "").split(";")[1:]
    pairs = (part.partition("=")[::2] for part in parts if "=" in part)
    return {name.strip(): value.strip().strip('"') for name, value in pairs}


def accepted(accept: str | None, offered: list[str]) -> str:
    """The form of the answer: of those offered, best first, the one that Accept likes most.

    Raises:
        RequestError: 406, it accepts none of those offered.
    """
    if not accept or accept == "*/*":
        return offered[0]
    likes = liked(accept)
    quality = {form: _quality(form, likes) for form in offered}
    best = max(offered, key=quality.__getitem__)  # the first of equals
    if quality[best] == 0:
        text = f"expected Accept to name {' or '.join(offered)}, got {shown(accept)}"
        raise RequestError(text, 406)
    return best


def liked(accept: str) -> dict[str, float]:
    """`gzip, br;q=0.5` is `{"gzip": 1.0, "br": 0.5}`."""
    return dict(map(_like, accept.split(",")))


def _quality(form: str, likes: dict[str, float]) -> float:
    # The most precise counts. Old clients, Java's for one, say * for */*.
    ranges = (form, form.partition("/")[0] + "/*", "*/*", "*")
    return next((likes[each] for each in ranges if each in likes), 0)


def _like(text: str) -> tuple[str, float]:
    """`application/json;q=0.5` is `("application/json", 0.5)`."""
    form, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    digits = quality.replace(".", "", 1)
    plain = digits.isascii() and digits.isdigit()
    return SAME.get(form, form), float(quality) if plain else 1.0
