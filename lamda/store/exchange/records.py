"""Records of feedback: what a handler keeps of ``POST /feedback`` (docs/data.md), as rows.

A record is a safetensors file whose name is the SHA-256 of its bytes, so it is known by its name
whether a data set has its rows.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamda import errors, types
from lamda.data import DataSet
from lamda.data.rows import type_of
from lamda.store.exchange import safetensors
from lamda.types import ArrayType, Type

TARGET = "targets"
_NAME = re.compile(r"([0-9a-f]{64})\.safetensors")


class Gathered(NamedTuple):
    """The rows of several records, one after the other."""

    arrays: dict[str, np.ndarray]
    """Arrays by name: ``inputs``, or names below it, and ``targets``."""
    names: list[str]
    """The SHA-256 of the records."""


def gathered(folder: Path, data: DataSet | None) -> Gathered | None:
    """The rows of the records that a data set does not have, by name; ``None`` where it has all.

    Labels that are whole numbers become floating where others are: many a client writes 3 for 3.0.
    Raises StoreError for what is no record, MissingError where there is none.
    """
    files = {_digest(path): path for path in sorted(folder.iterdir()) if path.name[0] != "."}
    if not files:
        raise errors.MissingError(errors.NO_RECORDS.format(path=folder))
    known = frozenset() if data is None else data.records
    new = {digest: path for digest, path in files.items() if digest not in known}
    if not new:
        return None
    found = [_read(digest, path) for digest, path in new.items()]
    kinds = {each[TARGET].dtype.name for each in found}
    if data is not None and isinstance(data.target, ArrayType):
        kinds.add(data.target.dtype)
    if kinds == {"int32", "float32"}:
        found = [each | {TARGET: each[TARGET].astype(np.float32)} for each in found]
    _require_alike([*new.values()], found)
    names = found[0].keys()
    return Gathered({n: np.concatenate([each[n] for each in found]) for n in names}, [*new])


def _digest(path: Path) -> str:
    if (match := _NAME.fullmatch(path.name)) is None:
        raise errors.StoreError(errors.DATA_RECORD.format(path=path))
    return match[1]


def _read(digest: str, path: Path) -> dict[str, np.ndarray]:
    """The arrays of a record, which is hashed. No map of it stays: there may be very many."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise errors.StoreError(errors.DATA_RECORD.format(path=path))
    found = {name: np.array(array) for name, array in sorted(safetensors.read(path).items())}
    rows = {array.shape[:1] for array in found.values()}
    if TARGET not in found or len(rows) != 1 or rows == {()}:
        raise errors.StoreError(errors.DATA_RECORD.format(path=path))
    return found


def _require_alike(paths: list[Path], found: list[dict[str, np.ndarray]]) -> None:
    """Raises StoreError where two records have rows of two types."""
    wanted = _type(found[0])
    for path, each in zip(paths, found, strict=True):
        if (given := _type(each)) != wanted:
            told = {"path": path, "given": types.show(given), "wanted": types.show(wanted)}
            raise errors.StoreError(errors.DATA_RECORDS_DIFFER.format(**told))


def _type(arrays: Mapping[str, np.ndarray]) -> Type:
    return type_of(types.typeof(arrays))
