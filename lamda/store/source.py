"""Source: the Python of lifted functions, by cloudpickle. Kept and read by request only.

Reading it runs it: whoever can write to the store can run code where it is read. So nothing reads
it but ``get(trust_source=True)``, which warns, and notes who asked.
"""

import getpass
import json
import os
import socket
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lamda import errors
from lamda.function import Function

MEDIA = "application/vnd.lamda.source.v1.cloudpickle"
LOG = "trusted.log"


def pickled(function: Function) -> bytes:
    """The Python of a function. Raises SpecError where it can not be kept."""
    cloudpickle = _cloudpickle()
    try:
        return cloudpickle.dumps(function.call, protocol=5)
    except Exception as error:  # whatever the function has captured
        text = errors.NOT_PICKLED.format(name=function.name, at=function.where, error=error)
        raise errors.SpecError(text) from error


def restored(data: bytes) -> Callable[[Any, Any], Any]:
    """The Python of a function: runs what was kept. Raises StoreError where it does not load."""
    cloudpickle = _cloudpickle()
    try:
        return cloudpickle.loads(data)
    except Exception as error:  # whatever the code does
        said = f"{type(error).__name__}: {error}"
        raise errors.StoreError(errors.NOT_RESTORED.format(error=said)) from error


def note(root: Path, address: str) -> None:
    """Warn, and note in ``trusted.log`` of the store who asked, when, for what."""
    warnings.warn(errors.TRUSTED_SOURCE.format(address=address, path=root), stacklevel=4)
    entry = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "who": getpass.getuser(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "address": address,
    }
    with open(root / LOG, "a") as file:
        file.write(json.dumps(entry) + "\n")


def _cloudpickle() -> Any:
    try:
        import cloudpickle
    except ImportError:
        raise errors.SpecError(
            errors.NO_EXTRA.format(package="cloudpickle", extra="author")
        ) from None
    return cloudpickle
