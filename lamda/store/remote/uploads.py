"""Uploads: what a machine remembers of what it sends, so that a later push goes on.

Where an unfinished upload can be continued, by repository and digest; and which repositories of a
registry were seen to hold a blob, for a registry can take it from there.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path


class Uploads:
    """A directory of small files; a lost one costs time alone."""

    def __init__(self, directory: Path, remote: str) -> None:
        self._directory = directory
        self._remote = remote

    def unfinished(self, digest: str) -> str | None:
        """The URL of an upload that was begun, and not finished."""
        try:
            return str(json.loads(self._path(digest).read_text())["url"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begun(self, digest: str, url: str) -> None:
        """Remember where an upload goes on. Its URL may let anyone write: for the owner alone."""
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            new = self._path(digest).with_suffix(f".{os.getpid()}")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"remote": self._remote, "digest": digest, "url": url}, file)
            new.replace(self._path(digest))

    def ended(self, digest: str) -> None:
        """Forget an upload."""
        self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        name = hashlib.sha256(f"{self._remote} {digest}".encode()).hexdigest()
        return self._directory / f"upload-{name[:32]}"


class Holders:
    """Which repository of a host was seen to hold a blob last."""

    def __init__(self, directory: Path, host: str) -> None:
        self._path = directory / f"held-{hashlib.sha256(host.encode()).hexdigest()[:16]}"

    def all(self) -> dict[str, str]:
        """The repository of every blob that was seen."""
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except OSError:
            return {}
        pairs = (line.split(" ") for line in lines)
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def saw(self, digest: str, repository: str) -> None:
        """Remember that a repository holds a blob."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a") as file:
                file.write(f"{digest} {repository}\n")
