"""Content codings: gzip and deflate in, gzip out.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-8.4
"""

from __future__ import annotations

from serve import errors
from serve.body.forms import JSON, liked
from serve.body.lists import shown
from serve.errors import RequestError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    Response = tuple[int, dict[str, str], bytes]

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # what zlib calls these formats
MEMBERS = 64  # each copies what is left of the body
LEAST = 1024  # bytes: less is not worth the time
LEVEL = 1  # lists of numbers get no shorter by more


def unpacked(body: bytes, coding: str, most: int) -> bytes:
    """The body that a coding was applied to, read no further than `most` bytes.

    Raises:
        RequestError: 415, the coding is another; 413, there is more; 400, it is damaged.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in WINDOWS:
        text = f"expected the content encoding gzip, deflate or identity, got {shown(coding)}"
        raise RequestError(text, 415)
    import zlib

    parts: list[bytes] = []
    while body:  # gzip files may stand one after the other
        if len(parts) == MEMBERS:
            raise RequestError(f"expected at most {MEMBERS} files in one body of {coding}")
        stream = zlib.decompressobj(WINDOWS[coding])
        try:
            parts.append(stream.decompress(body, most + 1))
        except zlib.error as error:
            reason = str(error).rpartition(": ")[2]
            raise RequestError(f"the request is not {coding}: {reason}") from None
        most -= len(parts[-1])
        if most < 0:
            raise RequestError(errors.LONG_UNPACKED.format(coding=coding), 413)
        if not stream.eof:
            raise RequestError(f"the request is not {coding}: it ends in the middle")
        body = stream.unused_data
    return b"".join(parts)


def packed(response: Response, accept: str | None) -> Response:
    """The response as the header Accept-Encoding wants it."""
    status, headers, body = response
    if len(body) < LEAST or not accept or not headers["content-type"].startswith((JSON, "text/")):
        return response
    headers = {**headers, "vary": "Accept-Encoding"}
    if not liked(accept).get("gzip") or "content-encoding" in headers:
        return status, headers, body
    import zlib

    stream = zlib.compressobj(LEVEL, wbits=WINDOWS["gzip"])  # it writes no time: same in, same out
    body = stream.compress(body) + stream.flush()
    return status, headers | {"content-encoding": "gzip", "content-length": str(len(body))}, body
