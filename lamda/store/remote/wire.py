"""The wire: what a registry is asked, with its login, its redirects and its refusals.

A login goes to the registry alone, never to where it redirects. What comes is streamed or bounded.
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from lamda import errors
from lamda.store.remote import connection
from lamda.store.remote.connection import BUSY, Body, Connections
from lamda.store.remote.location import Location
from lamda.store.remote.login import Login

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_REDIRECTS = (301, 302, 303, 307, 308)
_HOPS = 5
_LOGINS = 2
"""How often a request is sent with another login: one that came meanwhile, and one of its own."""
_SAID = 64 << 10


class Wire:
    """One registry."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._connections = Connections(location)
        self._login = Login(location, self._small)

    def ask(
        self,
        method: str,
        url: str,
        wanted: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        again: bool = True,
    ) -> "BaseHTTPResponse":
        """The answer, its body not yet read. With ``again``, what failed is asked again.

        Raises StoreError for another status than is wanted, ConnectionError where none came.
        """
        answer = self._authorised(method, url, headers or {}, body, again)
        for _ in range(_HOPS):
            if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                break
            self.end(answer)
            url = self._follow(url, answer.headers.get("Location", ""))
            answer = self._authorised(method, url, headers or {}, body, again)
        if answer.status in BUSY and not again:
            self.end(answer)
            connection.pause(answer)
            raise ConnectionError(f"it answered {answer.status}")
        if answer.status not in wanted:
            raise self._refused(method, url, answer)
        return answer

    def read(self, answer: "BaseHTTPResponse", most: int) -> bytes:
        """A whole small body. Raises StoreError where it is larger than ``most``."""
        data = b"".join(self.stream(answer, most + 1))
        if len(data) > most:
            raise self.wrong(f"it sent more than {most:,} bytes where so many are the most")
        return data

    def stream(self, answer: "BaseHTTPResponse", most: int | None = None) -> Iterator[bytes]:
        """The body in pieces, until ``most`` has come. Raises ConnectionError where it breaks."""
        return connection.stream(answer, most)

    def end(self, answer: "BaseHTTPResponse") -> None:
        """Be done with an answer; the connection of a short one is used again."""
        for _ in self.stream(answer, _SAID):
            pass

    def joined(self, url: str, target: str) -> str:
        """Where a URL leads from another. Raises StoreError for what is none."""
        try:
            new = urljoin(url, target)
            _origin(new)
        except ValueError:
            raise self.wrong(f"it leads to {target[:100]!r}, which is no URL") from None
        return new

    def own(self, url: str) -> bool:
        """Whether a URL is the registry's, and may have the login."""
        return _origin(url) == _origin(self.location.origin)

    def wrong(self, why: str) -> errors.StoreError:
        """The error for what no registry should do."""
        return errors.StoreError(errors.REMOTE_WRONG.format(url=self.location, why=why))

    def _authorised(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, again: bool
    ) -> "BaseHTTPResponse":
        if not self.own(url):
            return self._connections.send(method, url, headers, body, again)
        login = self._login.headers
        answer = self._connections.send(method, url, {**headers, **login}, body, again)
        for _ in range(_LOGINS):
            if answer.status != 401:
                break
            self.end(answer)
            new = self._login.answer(answer.headers.get("WWW-Authenticate", ""), login)
            if new is None:
                break
            login = new
            answer = self._connections.send(method, url, {**headers, **login}, body, again)
        return answer

    def _small(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> bytes:
        """The answer of who gives tokens, which is never followed anywhere else."""
        answer = self._connections.send(method, url, headers, body, again=True)
        if answer.status != 200:
            raise self._refused(method, url, answer)
        return self.read(answer, 1 << 20)

    def _follow(self, url: str, target: str) -> str:
        """Where a redirect leads. Raises StoreError where that is less safe."""
        new = self.joined(url, target)
        if urlsplit(new).scheme not in ("https", urlsplit(url).scheme):
            raise self.wrong(f"it redirects to {_shown(new)}, which is not https")
        return new

    def _refused(self, method: str, url: str, answer: "BaseHTTPResponse") -> errors.StoreError:
        try:
            said = _said(b"".join(self.stream(answer, _SAID)))
        except ConnectionError:
            said = ""
        if answer.status in (401, 403):
            host = self.location.host
            return errors.StoreError(errors.REMOTE_LOGIN.format(url=self.location, host=host))
        what = f"{method} {urlsplit(url).path}"
        return errors.StoreError(
            errors.REMOTE_REFUSED.format(
                url=self.location, status=answer.status, what=what, said=said and f": {said}"
            )
        )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port. Raises ValueError for what is no URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _shown(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _said(data: bytes) -> str:
    """What an answer says of its errors, in letters that a terminal can show."""
    try:
        first = json.loads(data)["errors"][0]
        text = f"{first.get('code')} {first.get('message')}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return "".join(c for c in text if c.isprintable())[:200]
