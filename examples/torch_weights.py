"""The weights in an old PyTorch file (before 1.6), read without torch and without running its code.

Such a file is five pickles, and then the numbers: a magic number, the version of the format, the
machine that wrote it, the state, and the order in which the storages follow; each of those is its
length, int64, and its bytes. A pickle may name any function to be called; here only the names that
a state needs are known: https://docs.python.org/3/library/pickle.html#restricting-globals
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
"""Of PyTorch's storages those that are met here."""


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    length: int


class _View(NamedTuple):
    """A tensor before its numbers are read: a part of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                # Made at each use: a pickle may set attributes of what it is given.
                return lambda *parts: _View(*parts[:4])
            case "torch", name if name in DTYPES:
                return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no weights need")

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, length, _ = pid
        return _Storage(key, DTYPES[kind], length)


def weights(file: bytes) -> dict[str, np.ndarray]:
    """The tensors of a state by name.

    Raises: ValueError if the file is of another format, ends early, or asks for anything else.
    """
    stream = io.BytesIO(file)
    try:
        head = [_Unpickler(stream).load() for _ in range(3)]
        if head[:2] != [MAGIC, VERSION]:
            raise ValueError("another magic number or version")
        state = _Unpickler(stream).load()
        dtypes = {view.storage.key: view.storage for view in state.values()}
        storages = {key: _numbers(stream, dtypes[key]) for key in _Unpickler(stream).load()}
        if stream.read(1):
            raise ValueError("more bytes than numbers")
        return {name: _tensor(storages[v.storage.key], v) for name, v in state.items()}
    except Exception as error:  # a pickle that is none raises whatever its bytes happen to do
        wanted = "expected the weights that PyTorch wrote before version 1.6"
        raise ValueError(f"{wanted}: {error}") from error


def _numbers(stream: io.BytesIO, storage: _Storage) -> np.ndarray:
    (length,) = struct.unpack("<q", stream.read(8))
    if length != storage.length:
        raise ValueError(f"{storage.length} numbers were promised, {length} came")
    return np.frombuffer(stream.read(length * storage.dtype.itemsize), storage.dtype, length)


def _tensor(storage: np.ndarray, view: _View) -> np.ndarray:
    """A copy of a part of a storage, all of it inside."""
    steps = list(zip(view.shape, view.strides, strict=True))
    last = view.offset + sum((size - 1) * stride for size, stride in steps)
    inside = view.offset >= 0 and all(size > 0 and stride >= 0 for size, stride in steps)
    if not inside or last >= len(storage):
        raise ValueError(f"a tensor of {view.shape} is not inside of its storage")
    strides = [stride * storage.itemsize for stride in view.strides]
    whole = np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides)
    return np.array(whole)
