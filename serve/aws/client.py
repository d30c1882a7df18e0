"""One signed request to a service of AWS, tried again where that may help.

The library of AWS takes some 300 ms to import and 25 MB of a function's package. What is needed of
it here is a GET, a PUT and a POST. http.client is imported when the first of them is made.
"""

from __future__ import annotations

import os
import time

from serve.aws.sigv4 import Keys, signed
from serve.aws.start import variable
from serve.errors import RequestError, ServeError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = 30  # seconds without a byte
PAUSES = (0.1, 0.4, None)  # seconds after each try; none after the last
WORTH = (429, 500, 502, 503, 504)  # what another try may mend
FAILED = "{method} {url} failed: {reason}. Check the role of the function, and that it is there."
TOO_LARGE = "expected at most {most} bytes in {url}, got {found}: send fewer rows"


class AwsError(ServeError, OSError):
    """A service of AWS did not do what it was asked."""


class _Again(Exception):
    """What another try may mend."""


def ask(
    service: str,
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    most: int = 1 << 30,
) -> tuple[dict[str, str], bytes]:
    """The headers, names in lower case, and the body of the answer, with the keys of the function.

    Raises:
        RequestError: 413, the answer has more bytes than `most`.
        AwsError: it is no 2xx, or there is none.
    """
    for pause in PAUSES:
        try:
            return _once(service, method, url, headers or {}, body, most)
        except _Again as error:
            if pause is None:
                raise AwsError(FAILED.format(method=method, url=url, reason=error)) from None
            time.sleep(pause)
    raise AssertionError("the last try has no pause after it")


def _once(
    service: str, method: str, url: str, headers: Mapping[str, str], body: bytes, most: int
) -> tuple[dict[str, str], bytes]:
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    sent = signed(method, url, headers, body, service, _region(), _keys(), time.gmtime())
    connection = (HTTPSConnection if scheme == "https" else HTTPConnection)(host, timeout=TIMEOUT)
    try:
        connection.request(method, slash + path, body or None, sent)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        length = int(found.get("content-length", 0))
        content = response.read(most + 1) if length <= most else b""
    except (OSError, HTTPException) as error:
        raise _Again(f"{type(error).__name__} {error}") from None
    finally:
        connection.close()
    if response.status in WORTH:
        raise _Again(_reason(response.status, content))
    if not 200 <= response.status < 300:
        reason = _reason(response.status, content)
        raise AwsError(FAILED.format(method=method, url=url, reason=reason))
    if max(length, len(content)) > most:
        found_bytes = max(length, len(content))
        raise RequestError(TOO_LARGE.format(most=most, url=url, found=found_bytes), 413)
    return found, content


def _reason(status: int, content: bytes) -> str:
    return f"status {status}: {content[:300].decode('utf-8', 'replace')}"


def _region() -> str:
    return variable("AWS_REGION", "the region of the function, as Lambda sets it")


def _keys() -> Keys:
    """The keys of the role of the function, which Lambda puts in the environment."""
    expected = "a key of the function's role, as Lambda sets it"
    return (
        variable("AWS_ACCESS_KEY_ID", expected),
        variable("AWS_SECRET_ACCESS_KEY", expected),
        os.environ.get("AWS_SESSION_TOKEN"),
    )
