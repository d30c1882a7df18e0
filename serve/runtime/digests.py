"""The digest of a large file, hashed when it is first seen and remembered while it is untouched."""

from __future__ import annotations

import hashlib
import json
import os

from serve import errors
from serve.errors import BundleError
from serve.runtime import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from serve.bundle import Bundle

_MEMORY = "digests.json"


def checked(bundle: Bundle, file: dict[str, Any]) -> str:
    """The absolute path of a FILE whose bytes are what the manifest says.

    Hashing 90 MB takes from 0.1 s to 0.2 s; a file that this machine has hashed before, and nobody
    has written since, is not read. `Bundle.verify` reads every byte again.

    Raises:
        BundleError: as `Bundle.path`, or the digest differs.
    """
    path = bundle.path(file)
    found = digest(path)
    if found != file["digest"]:
        text = errors.WRONG_DIGEST.format(path=path, expected=file["digest"], found=found)
        raise BundleError(text)
    return path


def digest(path: str) -> str:
    """`sha256:...` of a file, by an absolute path without links."""
    status = os.stat(path)
    stamp = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    memory = _remembered()
    if path in memory and memory[path][:-1] == stamp:
        return memory[path][-1]
    hasher = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    found = "sha256:" + hasher.hexdigest()
    there = {known: entry for known, entry in memory.items() if os.path.exists(known)}
    cache.write(_MEMORY, json.dumps({**there, path: [*stamp, found]}).encode())
    return found


def _remembered() -> dict[str, list]:
    """Path to [dev, inode, size, mtime_ns, ctime_ns, digest]; empty where it can not be read."""
    try:
        memory = json.loads(cache.read(_MEMORY) or b"{}")
    except ValueError:
        return {}
    return memory if isinstance(memory, dict) else {}
