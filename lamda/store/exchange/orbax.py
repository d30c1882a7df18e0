"""Orbax: a directory of a checkpoint, of one tree (https://orbax.readthedocs.io)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamda import errors
from lamda.store.exchange.trees import flat, nested
from lamda.tensor import Tensor


def read(path: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint. Raises StoreError, SpecError where orbax is not installed."""
    checkpoint = _orbax()
    if not (path / "_METADATA").exists():
        why = "it has no _METADATA. Give the directory of one item, as in 100/default"
        raise errors.StoreError(errors.BAD_FILE.format(path=path, format="Orbax", why=why))
    import jax

    try:
        with checkpoint.PyTreeCheckpointer() as reader:
            tree = reader.metadata(path.absolute()).item_metadata.tree
            wanted = checkpoint.RestoreArgs(restore_type=np.ndarray)
            how = jax.tree.map(lambda _: wanted, tree)
            return flat(reader.restore(path.absolute(), restore_args=how))
    except Exception as error:  # whatever the files lead to
        why = f"{type(error).__name__}: {error}"
        text = errors.BAD_FILE.format(path=path, format="Orbax", why=why)
        raise errors.StoreError(text) from error


def write(path: Path, weights: Mapping[str, Tensor], address: str) -> None:
    """Write a checkpoint, whose custom metadata says the address. Raises SpecError."""
    checkpoint = _orbax()
    empty = [name for name, tensor in weights.items() if not tensor.nbytes]
    if path.exists() or empty:
        why = f"{', '.join(empty)} are empty, which Orbax refuses" if empty else "it is there"
        raise errors.SpecError(errors.NOT_EXPORTED.format(path=path, why=why))
    with checkpoint.PyTreeCheckpointer() as writer:
        named = {"dev.lamda.address": address}
        writer.save(path.absolute(), nested(weights), custom_metadata=named)


def _orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError:
        text = errors.NO_EXTRA.format(package="orbax-checkpoint", extra="orbax")
        raise errors.SpecError(text) from None
    return orbax.checkpoint
