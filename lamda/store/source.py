"""Source: the Python of lifted functions, by cloudpickle. Kept and read by request only.

Reading it runs it: whoever can write to the store can run code where it is read. So nothing reads
it but ``get(trust_source=True)``, which warns, and notes who asked. Its bytes are hashed before
they are read; that it is the function whose program is kept can be seen only after.
"""

import json
import os
import pwd
import socket
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lamda import errors
from lamda.function import Function

MEDIA = "application/vnd.lamda.source.v1.cloudpickle"
LOG = "trusted.log"


class Python(NamedTuple):
    """The Python of a function, and of its reading with a random key where it has one."""

    call: Callable[[Any, Any], Any]
    sample: Callable[[Any, Any, Any], Any] | None


def pickled(function: Function) -> bytes:
    """The Python of a function. Raises SpecError where it can not be kept."""
    cloudpickle = _cloudpickle()
    try:
        return cloudpickle.dumps((function.call, function.sample), protocol=5)
    except Exception as error:  # whatever the function has captured
        text = errors.NOT_PICKLED.format(name=function.name, at=function.where, error=error)
        raise errors.SpecError(text) from error


def restored(data: bytes) -> Python:
    """The Python of a function: runs what was kept. Raises StoreError where it does not load."""
    cloudpickle = _cloudpickle()
    try:
        found = Python(*cloudpickle.loads(data))
        if not callable(found.call) or not (found.sample is None or callable(found.sample)):
            raise TypeError(f"expected two functions, got {found.call!r} and {found.sample!r}")
        return found
    except Exception as error:  # whatever the code does
        said = f"{type(error).__name__}: {error}"
        raise errors.StoreError(errors.NOT_RESTORED.format(error=said)) from error


def note(root: Path, address: str) -> None:
    """Note in ``trusted.log`` of the store who asks, from where, when, for what; and warn.

    Raises StoreError where it can not be noted: then nothing is run.
    """
    entry = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "who": _user(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "program": sys.argv[0] if sys.argv else "",
        "where": errors.made_at(),
        "address": address,
    }
    try:
        with open(root / LOG, "ab", opener=_own) as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        text = errors.NOT_NOTED.format(path=root, error=error.strerror)
        raise errors.StoreError(text) from error
    warnings.warn(errors.TRUSTED_SOURCE.format(address=address, path=root), stacklevel=4)


def _own(path: str, flags: int) -> int:
    """Open a file of the store: a link to somewhere else is not followed."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


def _user() -> str:
    """Who runs this, by the system and not by what the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _cloudpickle() -> Any:
    try:
        import cloudpickle
    except ImportError:
        raise errors.SpecError(
            errors.NO_EXTRA.format(package="cloudpickle", extra="author")
        ) from None
    return cloudpickle
