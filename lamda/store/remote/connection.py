"""Connections: requests to registries by urllib3, and how long an answer may take.

What fails is asked again for a while. No server can make us wait for good, by silence, by a byte
now and then, or by asking for it.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from lamda import errors
from lamda.store.remote.location import Location

try:
    import urllib3
except ImportError:
    text = errors.NO_EXTRA.format(package="urllib3", extra="remote")
    raise errors.SpecError(text) from None

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

TRIES = 5
PIECE = 1 << 20
CONNECT = 10.0
"""Seconds for a connection, and for each small piece that is sent over it."""
READ = 60.0
"""Seconds of silence."""
PATIENCE = 60.0
"""Seconds in which at least ``SLOWEST`` bytes of a body must come."""
SLOWEST = 64 << 10
LONGEST_WAIT = 60.0
"""Seconds that a server may ask us to wait before the next try."""
BUSY = (429, 500, 502, 503, 504)
_SENT = 64 << 10

Body = bytes | Callable[[], Iterable[bytes | memoryview]] | None
"""Bytes, or what makes an iterator of them each time that it is sent."""


class Connections:
    """The connections of one registry, and to where it redirects; they are kept."""

    def __init__(self, location: Location) -> None:
        self._pool = _pool(location)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, again: bool
    ) -> "BaseHTTPResponse":
        """The answer, its body not yet read. With ``again``, what failed is asked again.

        Raises ConnectionError where none came.
        """
        retries = _Retry(
            total=TRIES if again else 0,
            redirect=0,
            allowed_methods=None,
            status_forcelist=BUSY if again else (),
            backoff_factor=0.1,
            raise_on_status=False,
        )
        plain = {"Accept-Encoding": "identity", "User-Agent": "lamda"}
        made: Any = _sliced(body()) if callable(body) else body
        try:
            return self._pool.request(
                method, url, headers={**plain, **headers}, body=made, retries=retries,
                timeout=urllib3.Timeout(connect=CONNECT, read=READ),
                redirect=False, preload_content=False, decode_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionError(_reason(error)) from error


class _Retry(urllib3.Retry):
    """Waits as a server asks for, but not for ever."""

    def get_retry_after(self, response: Any) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, LONGEST_WAIT)


def pause(answer: "BaseHTTPResponse") -> None:
    """Wait as long as a busy server asks for. Raises ConnectionError where it asks nonsense."""
    try:
        time.sleep(_Retry().get_retry_after(answer) or 0)
    except urllib3.exceptions.HTTPError as error:
        raise ConnectionError(type(error).__name__) from error


def stream(answer: "BaseHTTPResponse", most: int | None = None) -> Iterator[bytes]:
    """The body in pieces, until ``most`` has come. Raises ConnectionError where it breaks."""
    came, window, waited = 0, 0, 0.0
    try:
        while most is None or came < most:
            began = time.monotonic()
            data = answer.read1(PIECE if most is None else min(PIECE, most - came))
            if not data:
                return
            waited += time.monotonic() - began  # and not the time that the bytes were used in
            came, window = came + len(data), window + len(data)
            if waited > PATIENCE:
                if window < SLOWEST:
                    raise TimeoutError
                window, waited = 0, 0.0
            yield data
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ConnectionError(type(error).__name__) from error
    finally:
        answer.close()  # one that was read whole has given its connection back already


def _sliced(chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    """What is sent, so small that a slow wire takes each in the time that there is."""
    for chunk in chunks:
        view = memoryview(chunk)
        yield from (view[at : at + _SENT] for at in range(0, len(view), _SENT))


def _pool(location: Location) -> urllib3.PoolManager:
    """Connections, through the proxy of the environment where there is one.

    What is on this machine is asked without TLS, and so never through a proxy.
    """
    options: dict[str, Any] = {"maxsize": 8}
    if os.environ.get("SSL_CERT_FILE"):
        options["ca_certs"] = os.environ["SSL_CERT_FILE"]
    proxy = getproxies().get("https" if location.secure else "http")
    host = urlsplit(location.origin).hostname or ""
    if proxy and not location.here and not proxy_bypass(host):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def _reason(error: BaseException) -> str:
    """Why no answer came: what urllib3 found last."""
    return type(getattr(error, "reason", None) or error).__name__
