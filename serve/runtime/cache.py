"""What is worth remembering between processes: small files that may be lost at any time."""

from __future__ import annotations

import os


def directory() -> str:
    """`$LAMDA_CACHE`, else `~/.cache/lamda`."""
    return os.environ.get("LAMDA_CACHE") or os.path.expanduser("~/.cache/lamda")


def read(name: str) -> bytes | None:
    """What was written under a name, or None."""
    try:
        with open(os.path.join(directory(), name), "rb") as file:
            return file.read()
    except OSError:
        return None


def write(name: str, data: bytes) -> bool:
    """Keep data under a name, whole or not at all; False where nothing can be written."""
    path = os.path.join(directory(), name)
    draft = f"{path}.{os.getpid()}.draft"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(draft, "wb") as file:
            file.write(data)
        os.replace(draft, path)
    except OSError:
        return False
    return True
