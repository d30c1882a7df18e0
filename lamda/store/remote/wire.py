"""The wire: requests to a registry by urllib3, with its login, its redirects and its faults.

A login goes to the registry alone, never to where it redirects. What comes is streamed or bounded.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from lamda import errors
from lamda.store.remote.location import Location
from lamda.store.remote.login import Login

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

TRIES = 5
PIECE = 1 << 20
_BUSY = (429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_HOPS = 5
_SAID = 64 << 10


class Wire:
    """One registry, over connections that are kept."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._pool = _pool(location)
        self._login = Login(location, self._small)

    def ask(
        self,
        method: str,
        url: str,
        wanted: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        again: bool = True,
    ) -> "BaseHTTPResponse":
        """The answer, its body not yet read. With ``again``, what failed is asked again.

        ``body`` is bytes, or makes an iterator each time that it is sent.

        Raises StoreError for another status than is wanted, ConnectionError where none came.
        """
        answer = self._authorised(method, url, headers or {}, body, again)
        for _ in range(_HOPS):
            if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                break
            self.end(answer)
            url = self._follow(url, answer.headers.get("Location", ""))
            answer = self._authorised(method, url, headers or {}, body, again)
        if answer.status in _BUSY and not again:
            self.end(answer)
            raise ConnectionError(f"it answered {answer.status}")
        if answer.status not in wanted:
            raise self._refused(method, url, answer)
        return answer

    def read(self, answer: "BaseHTTPResponse", most: int) -> bytes:
        """A whole small body. Raises StoreError where it is larger than ``most``."""
        data = b"".join(self.stream(answer, most + 1))
        if len(data) > most:
            answer.close()
            raise self.wrong(f"it sent more than {most:,} bytes where so many are the most")
        return data

    def stream(self, answer: "BaseHTTPResponse", most: int | None = None) -> Iterator[bytes]:
        """The body in pieces, until ``most`` has come. Raises ConnectionError where it breaks."""
        import urllib3

        came = 0
        try:
            while most is None or came < most:
                data = answer.read(PIECE if most is None else min(PIECE, most - came))
                if not data:
                    return
                came += len(data)
                yield data
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionError(type(error).__name__) from error
        finally:
            answer.close()  # one that was read whole has given its connection back already

    def end(self, answer: "BaseHTTPResponse") -> None:
        """Be done with an answer; the connection of a short one is used again."""
        for _ in self.stream(answer, _SAID):
            pass

    def own(self, url: str) -> bool:
        """Whether a URL is the registry's, and may have the login."""
        return _origin(url) == _origin(self.location.origin)

    def wrong(self, why: str) -> errors.StoreError:
        """The error for what no registry should do."""
        return errors.StoreError(errors.REMOTE_WRONG.format(url=self.location, why=why))

    def _authorised(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, again: bool
    ) -> "BaseHTTPResponse":
        own = self.own(url)
        login = self._login.headers if own else {}
        answer = self._send(method, url, {**headers, **login}, body, again)
        if answer.status != 401 or not own:
            return answer
        challenge = answer.headers.get("WWW-Authenticate", "")
        self.end(answer)
        if not self._login.answer(challenge):
            return answer
        return self._send(method, url, {**headers, **self._login.headers}, body, again)

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, again: bool
    ) -> "BaseHTTPResponse":
        import urllib3

        retries = urllib3.Retry(
            total=TRIES if again else 0,
            redirect=0,
            allowed_methods=None,
            status_forcelist=_BUSY if again else (),
            backoff_factor=0.1,
            raise_on_status=False,
        )
        plain = {"Accept-Encoding": "identity", "User-Agent": "lamda"}
        made: Any = body() if callable(body) else body
        try:
            return self._pool.request(
                method, url, headers={**plain, **headers}, body=made, retries=retries,
                redirect=False, preload_content=False, decode_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionError(_reason(error)) from error

    def _small(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> bytes:
        answer = self._send(method, url, headers, body, again=True)
        if answer.status != 200:
            raise self._refused(method, url, answer)
        return self.read(answer, 1 << 20)

    def _follow(self, url: str, target: str) -> str:
        """Where a redirect leads. Raises StoreError where that is less safe."""
        new = urljoin(url, target)
        if urlsplit(new).scheme not in ("https", urlsplit(url).scheme):
            raise self.wrong(f"it redirects to {_shown(new)}, which is not https")
        return new

    def _refused(self, method: str, url: str, answer: "BaseHTTPResponse") -> errors.StoreError:
        try:
            said = _said(next(self.stream(answer, _SAID), b""))
        except ConnectionError:
            said = ""
        answer.close()
        if answer.status in (401, 403):
            host = self.location.host
            return errors.StoreError(errors.REMOTE_LOGIN.format(url=self.location, host=host))
        what = f"{method} {urlsplit(url).path}"
        return errors.StoreError(
            errors.REMOTE_REFUSED.format(
                url=self.location, status=answer.status, what=what, said=said and f": {said}"
            )
        )


def _pool(location: Location) -> "PoolManager":
    """Connections, through the proxy of the environment where there is one."""
    try:
        import urllib3
    except ImportError:
        text = errors.NO_EXTRA.format(package="urllib3", extra="remote")
        raise errors.SpecError(text) from None
    options: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=10, read=60), "maxsize": 8,
    }  # fmt: skip
    if os.environ.get("SSL_CERT_FILE"):
        options["ca_certs"] = os.environ["SSL_CERT_FILE"]
    proxy = getproxies().get("https" if location.secure else "http")
    if proxy and not proxy_bypass(location.host.rpartition(":")[0] or location.host):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _shown(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _reason(error: BaseException) -> str:
    """Why no answer came: what urllib3 found last."""
    return type(getattr(error, "reason", None) or error).__name__


def _said(data: bytes) -> str:
    """What an answer says of its errors, in letters that a terminal can show."""
    try:
        first = json.loads(data)["errors"][0]
        text = f"{first.get('code')} {first.get('message')}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    return "".join(c for c in text if c.isprintable())[:200]
