"""Flax msgpack: the bytes of ``flax.serialization.to_bytes``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamda import errors
from lamda.store.exchange.trees import flat, nested
from lamda.store.files import write_file
from lamda.tensor import Tensor


def read(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file. Raises StoreError, SpecError where flax is not installed."""
    restore = _serialization().msgpack_restore
    try:
        return flat(restore(path.read_bytes()))
    except Exception as error:  # whatever the bytes lead to
        why = f"{type(error).__name__}: {error}"
        text = errors.BAD_FILE.format(path=path, format="Flax msgpack", why=why)
        raise errors.StoreError(text) from error


def write(path: Path, weights: Mapping[str, Tensor], address: str) -> None:
    """Write one file; the format has no place for the address."""
    write_file(path.absolute(), _serialization().msgpack_serialize(nested(weights)))


def _serialization() -> Any:
    try:
        from flax import serialization
    except ImportError:
        raise errors.SpecError(errors.NO_EXTRA.format(package="flax", extra="author")) from None
    return serialization
