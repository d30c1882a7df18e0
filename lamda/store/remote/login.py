"""Login: what a request is sent with, once a registry has said what it wants.

A registry answers 401 with challenges: ``Basic``, or ``Bearer`` with who gives tokens for what
(https://distribution.github.io/distribution/spec/auth/token/).
"""

import json
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from lamda import errors
from lamda.store.remote import credentials
from lamda.store.remote.location import Location

Fetch = Callable[[str, str, dict[str, str], bytes | None], bytes]
"""``(method, url, headers, body)`` to the bytes of a small answer."""

_PART = re.compile(r'(?P<kind>[\w-]+)[ \t]+(?=[\w-]+=)|(?P<key>[\w-]+)=(?:"([^"]*)"|([^\s,"]+))')


class Login:
    """The ``Authorization`` of one registry; empty until it asks for one."""

    def __init__(self, location: Location, fetch: Fetch) -> None:
        self._location = location
        self._fetch = fetch
        self._lock = threading.Lock()
        self.headers: dict[str, str] = {}

    def answer(self, challenge: str, tried: dict[str, str]) -> dict[str, str] | None:
        """What to send a request with that was refused with ``tried``; ``None`` for nothing new.

        Raises StoreError where it asks for what is not safe to give.
        """
        with self._lock:
            if self.headers == tried:  # else another thread has logged in meanwhile
                self.headers = self._asked(parsed(challenge)) or tried
            return None if self.headers == tried else self.headers

    def _asked(self, challenges: dict[str, dict[str, str]]) -> dict[str, str] | None:
        """The header that the best of the challenges asks for."""
        known = credentials.find(self._location.host)
        if "realm" in challenges.get("bearer", {}):
            return {"Authorization": f"Bearer {self._token(challenges['bearer'], known)}"}
        if "basic" in challenges and known is not None and not known.identity:
            return {"Authorization": known.basic}
        return None

    def _token(self, asked: dict[str, str], known: credentials.Credentials | None) -> str:
        realm = asked["realm"]
        self._require_safe(realm)
        query = {k: asked[k] for k in ("service", "scope") if k in asked}
        if known is not None and known.identity:
            who = {"refresh_token": known.secret, "client_id": "lamda"}
            form = {"grant_type": "refresh_token", **who, **query}
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            data = self._fetch("POST", realm, kind, urlencode(form).encode())
        else:
            head = {} if known is None else {"Authorization": known.basic}
            mark = "&" if "?" in realm else "?"
            data = self._fetch("GET", f"{realm}{mark}{urlencode(query)}", head, None)
        return self._read(data)

    def _require_safe(self, realm: str) -> None:
        """Raises StoreError where a login would go to no URL, or could be read on its way."""
        try:
            scheme = urlsplit(realm).scheme
        except ValueError:
            scheme = ""
        if scheme not in (("https",) if self._location.secure else ("https", "http")):
            raise self._wrong(f"it wants the login sent to {realm[:200]!r}, which is not https")

    def _read(self, data: bytes) -> str:
        try:
            answer: Any = json.loads(data)
            token = answer.get("token") or answer["access_token"]
            if not re.fullmatch(r"[\x21-\x7e]+", token):
                raise ValueError
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise self._wrong("what gives its tokens gave none") from None
        return token

    def _wrong(self, why: str) -> errors.StoreError:
        return errors.StoreError(errors.REMOTE_WRONG.format(url=self._location, why=why))


def parsed(challenge: str) -> dict[str, dict[str, str]]:
    """The challenges of a header by their kind, the first of each (RFC 9110, 11.6.1).

    >>> parsed('Bearer realm="https://h/t", service=s, Basic realm="r"')
    {'bearer': {'realm': 'https://h/t', 'service': 's'}, 'basic': {'realm': 'r'}}
    """
    found: dict[str, dict[str, str]] = {}
    asked: dict[str, str] = {}
    for part in _PART.finditer(challenge):
        if part["kind"] is not None:
            asked = {}
            found.setdefault(part["kind"].lower(), asked)
        else:
            asked[part["key"].lower()] = part[3] if part[3] is not None else part[4]
    return found
