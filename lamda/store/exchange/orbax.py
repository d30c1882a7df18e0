"""Orbax: a directory of a checkpoint, of one tree (https://orbax.readthedocs.io)."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamda import errors
from lamda.store.exchange.trees import flat, nested
from lamda.store.files import make_directory
from lamda.tensor import Tensor


def read(path: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint. Raises StoreError, SpecError where orbax is not installed."""
    checkpoint = _orbax()
    if not (path / "_METADATA").exists():
        why = "it has no _METADATA. Give the directory of one item, as in 100/default"
        raise errors.StoreError(errors.BAD_FILE.format(path=path, format="Orbax", why=why))
    import jax

    try:
        with _quiet(), checkpoint.PyTreeCheckpointer() as reader:
            described = reader.metadata(path.absolute()).item_metadata
            if described is None:
                raise ValueError("what it says of its arrays is damaged")
            wanted = checkpoint.RestoreArgs(restore_type=np.ndarray)
            how = jax.tree.map(lambda _: wanted, described.tree)
            return flat(reader.restore(path.absolute(), restore_args=how))
    except Exception as error:  # whatever the files lead to
        why = f"{type(error).__name__}: {error}"
        text = errors.BAD_FILE.format(path=path, format="Orbax", why=why)
        raise errors.StoreError(text) from error


def write(path: Path, weights: Mapping[str, Tensor], address: str) -> None:
    """Write a checkpoint, whose custom metadata says the address. Raises SpecError."""
    checkpoint = _orbax()
    if (why := _refused(path, weights)) is not None:
        raise errors.SpecError(errors.NOT_EXPORTED.format(path=path, why=why))
    tree = nested(weights)
    make_directory(path.absolute().parent)
    try:
        with _quiet(), checkpoint.PyTreeCheckpointer() as writer:
            named = {"dev.lamda.address": address}
            writer.save(path.absolute(), tree, custom_metadata=named)
    except OSError:
        raise
    except Exception as error:  # whatever it leads to
        why = f"{type(error).__name__}: {error}"
        raise errors.SpecError(errors.NOT_EXPORTED.format(path=path, why=why)) from error


def _refused(path: Path, weights: Mapping[str, Tensor]) -> str | None:
    """Why there can be no checkpoint of these weights; Orbax joins names by dots."""
    if path.exists():
        return "it is there"
    if empty := [name for name, tensor in weights.items() if not tensor.nbytes]:
        return f"{', '.join(empty)} are empty, which Orbax refuses"
    dotted: dict[str, str] = {}
    for name in weights:
        other = dotted.setdefault(name.replace("/", "."), name)
        if other != name:
            return f"{other!r} and {name!r} are one name for Orbax"
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax logs what it raises once for every thread; those that it leaves find its loop closed,
    and say so on standard error."""
    logger = logging.getLogger("absl")
    before = logger.disabled, sys.unraisablehook
    logger.disabled, sys.unraisablehook = True, lambda _: None
    try:
        yield
    except Exception:
        time.sleep(0.1)  # which is long for what these threads still do
        raise
    finally:
        logger.disabled, sys.unraisablehook = before


def _orbax() -> Any:
    try:
        import orbax.checkpoint
    except ImportError:
        text = errors.NO_EXTRA.format(package="orbax-checkpoint", extra="orbax")
        raise errors.SpecError(text) from None
    return orbax.checkpoint
