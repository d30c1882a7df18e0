"""A WSGI application around a handler: `gunicorn serve.wsgi:app` with LAMDA_BUNDLE=DIR.

What is answered is said by serve.http.routes. A stream is answered when its whole body is there.

Source: https://peps.python.org/pep-3333/
"""

from __future__ import annotations

from serve import errors
from serve.body.coding import packed
from serve.errors import RequestError
from serve.http.refusal import refused
from serve.http.routes import respond
from serve.http.wire import REASONS
from serve.trace import identify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from serve.handler import Handler
    from serve.http.routes import Response

    App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def __getattr__(name: str) -> App:
    """`serve.wsgi.app`, made when a server first asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve.start import load

    return globals().setdefault("app", make_app(load("http")))


def make_app(handler: Handler) -> App:
    """The WSGI application of a handler."""

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        headers = _headers(environ)
        identify(headers)
        status, more, body = packed(_answer(environ, headers), headers.get("accept-encoding"))
        start(f"{status} {REASONS.get(status, 'Error')}", list(more.items()))
        return [body]

    def _answer(environ: dict[str, Any], headers: dict[str, str]) -> Response:
        method = environ["REQUEST_METHOD"]
        # The bytes of the path, in a str.
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace") or "/"
        try:
            body = _body(environ, headers, handler.max_bytes)
        except RequestError as error:
            return refused(handler, method, path, headers, error)
        return respond(handler, method, path, headers, body)

    return app


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    named = {
        key[5:].lower().replace("_", "-"): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            named[key.lower().replace("_", "-")] = environ[key]
    return named


def _body(environ: dict[str, Any], headers: dict[str, str], most: int) -> bytes:
    """The whole body, read no further than it may be long.

    Raises:
        RequestError: it is longer, or shorter than it says.
    """
    source, length = environ["wsgi.input"], headers.get("content-length", "")
    if not length:
        # Only a server that marks the end of its input can be asked for one without a length.
        ends = environ.get("wsgi.input_terminated") or "transfer-encoding" in headers
        body = source.read(most + 1) if ends else b""
    elif not (length.isascii() and length.isdigit() and len(length) < 19):
        raise RequestError("expected one whole number as Content-Length")
    elif int(length) > most:
        raise RequestError(errors.LONG.format(most=most), 413)
    else:
        body = source.read(int(length))
        if len(body) < int(length):
            raise RequestError(f"expected a body of {length} bytes, got {len(body)}")
    if len(body) > most:
        raise RequestError(errors.LONG.format(most=most), 413)
    return body
