"""Login: what a request is sent with, once a registry has said what it wants.

A registry answers 401 with a challenge: ``Basic``, or ``Bearer`` with who gives tokens for what
(https://distribution.github.io/distribution/spec/auth/token/).
"""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from lamda import errors
from lamda.store.remote import credentials
from lamda.store.remote.location import Location

Fetch = Callable[[str, str, dict[str, str], bytes | None], bytes]
"""``(method, url, headers, body)`` to the bytes of a small answer."""


class Login:
    """The ``Authorization`` of one registry; empty until it asks for one."""

    def __init__(self, location: Location, fetch: Fetch) -> None:
        self._location = location
        self._fetch = fetch
        self.headers: dict[str, str] = {}

    def answer(self, challenge: str) -> bool:
        """Do what a challenge asks for; whether there is something new to try.

        Raises StoreError where it asks for what is not safe to give.
        """
        kind, _, rest = challenge.partition(" ")
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        known = credentials.find(self._location.host)
        if kind.lower() == "bearer" and "realm" in asked:
            new = f"Bearer {self._token(asked, known)}"
        elif kind.lower() == "basic" and known is not None and not known.identity:
            new = known.basic
        else:
            return False
        changed = self.headers.get("Authorization") != new
        self.headers = {"Authorization": new}
        return changed

    def _token(self, asked: dict[str, str], known: credentials.Credentials | None) -> str:
        realm = asked["realm"]
        if self._location.secure and urlsplit(realm).scheme != "https":
            why = f"it wants the login sent to {realm}, which is not https"
            raise errors.StoreError(errors.REMOTE_WRONG.format(url=self._location, why=why))
        query = {k: asked[k] for k in ("service", "scope") if k in asked}
        if known is not None and known.identity:
            form = {"grant_type": "refresh_token", "refresh_token": known.secret, **query}
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            data = self._fetch("POST", realm, kind, urlencode(form).encode())
        else:
            head = {} if known is None else {"Authorization": known.basic}
            mark = "&" if "?" in realm else "?"
            data = self._fetch("GET", f"{realm}{mark}{urlencode(query)}", head, None)
        return self._read(data)

    def _read(self, data: bytes) -> str:
        try:
            answer: Any = json.loads(data)
            token = answer.get("token") or answer["access_token"]
            if not re.fullmatch(r"[\x21-\x7e]+", token):
                raise ValueError
        except (ValueError, KeyError, AttributeError, TypeError):
            why = "what gives its tokens gave none"
            raise errors.StoreError(
                errors.REMOTE_WRONG.format(url=self._location, why=why)
            ) from None
        return token
