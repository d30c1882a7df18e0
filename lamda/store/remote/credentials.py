"""Credentials: what ``docker login`` keeps, for the host of a registry.

They are in ``config.json`` of ``$DOCKER_CONFIG`` or ``~/.docker``, or asked of a helper program
that it names (https://docs.docker.com/reference/cli/docker/login/#credential-stores). They are
sent to the registry and to who it says gives tokens, and never printed.
"""

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lamda import errors

_HUB = "https://index.docker.io/v1/"
_SECONDS = 30


@dataclass(frozen=True)
class Credentials:
    """A name and a password, or a token that stands for both."""

    user: str = field(repr=False)
    secret: str = field(repr=False)
    identity: bool = field(default=False, repr=False)
    """Whether the secret is a token to ask other tokens with."""

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


def find(host: str) -> Credentials | None:
    """The credentials for a registry; ``None`` where there are none. Raises StoreError."""
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict):
            raise ValueError("it holds no object")
        key = _HUB if host == "docker.io" else host
        return _find(config, key)
    except FileNotFoundError:
        return None
    except errors.LamdaError:
        raise
    except (ValueError, LookupError, AttributeError, TypeError, OSError) as error:
        # never the text: it has secrets
        why = type(error).__name__
        raise errors.StoreError(errors.BAD_LOGIN.format(path=path, host=host, why=why)) from None


def _find(config: dict[str, Any], key: str) -> Credentials | None:
    helper = config.get("credHelpers", {}).get(key) or config.get("credsStore")
    if helper and (found := _ask(str(helper), key)) is not None:
        return found
    auths = config.get("auths", {})
    entry = auths.get(key) or next((auths[k] for k in auths if _host(k) == key), {})
    if entry.get("identitytoken"):
        return Credentials("", entry["identitytoken"], identity=True)
    if not entry.get("auth"):
        return None
    user, _, secret = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    return Credentials(user, secret)


def _host(key: str) -> str:
    """The host of a key, which may be a URL: some tools write ``https://host/v2/``."""
    return urlsplit(key if "://" in key else f"//{key}").netloc


def _ask(helper: str, key: str) -> Credentials | None:
    """What the program ``docker-credential-<helper>`` answers; ``None`` where it knows none."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=key, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        text = errors.NO_LOGIN_HELPER.format(program=program, why=type(error).__name__, host=key)
        raise errors.StoreError(text) from None
    if done.returncode:
        return None
    answer = json.loads(done.stdout)
    user, secret = str(answer["Username"]), str(answer["Secret"])
    return Credentials(user, secret, identity=user == "<token>")
