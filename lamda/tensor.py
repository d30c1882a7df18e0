"""Tensors: immutable arrays that remember their digest.

The digest of a tensor is the SHA-256 of its canonical safetensors file: one tensor named
``data``, keys sorted, header padded with spaces so that the numbers start at a multiple of 64
(https://github.com/huggingface/safetensors#format). So the address of a model, the name of a
blob in the store and the checksum of a file that any tool can read are one number.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Any

import jax.core
import jax.numpy as jnp
import numpy as np

from lamda import errors
from lamda.types import ArrayType

ALIGNMENT = 64

SAFETENSORS = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
}


class Tensor:
    """One array of a model's weights; two tensors are one when their digests are."""

    __slots__ = ("_array", "_digest", "_load", "_type", "floating")

    floating: bool
    """Whether it can be differentiated."""

    def __init__(self, array: Any, digest: str | None = None) -> None:
        self._array = array = _strong(array)
        self._load: Callable[[], Any] | None = None
        self._type: ArrayType | None = None
        self.floating = _floating(array.dtype)
        self._digest = digest

    @classmethod
    def lazy(cls, type: ArrayType, digest: str, load: Callable[[], Any]) -> "Tensor":
        """A tensor whose array is loaded where it is used first."""
        new = cls.__new__(cls)
        new._array, new._load, new._type, new._digest = None, load, type, digest
        new.floating = _floating(type.dtype)
        return new

    @property
    def array(self) -> Any:
        """The array, or what a transformation put in its place."""
        load = self._load
        if load is not None:
            self._array = load()
            self._load = None
        return self._array

    @property
    def traced(self) -> bool:
        """Whether it is inside of a JAX transformation, where numbers have no values."""
        return isinstance(self._array, jax.core.Tracer)

    def put(self, array: Any) -> "Tensor":
        """The tensor in the same place with another array, or what a transformation puts there."""
        if self._load is None and array is self._array:
            return self
        new = Tensor.__new__(Tensor)
        new._array, new._load, new._type, new._digest = _strong(array), None, None, None
        new.floating = self.floating
        return new

    @property
    def type(self) -> ArrayType:
        """dtype and shape."""
        if self._type is None:
            self._type = ArrayType(_name(self._array.dtype), tuple(self._array.shape))
        return self._type

    @property
    def digest(self) -> str:
        """``sha256:...`` of the canonical bytes; computed once."""
        if self._digest is None:
            if self.traced:
                raise errors.OpenError(errors.TRACED.format(name="a tensor", what="digest"))
            sha = hashlib.sha256()
            for chunk in self.chunks():
                sha.update(chunk)
            self._digest = f"sha256:{sha.hexdigest()}"
        return self._digest

    @property
    def known(self) -> bool:
        """Whether its digest has been computed."""
        return self._digest is not None

    def remember(self, digest: str) -> None:
        """Keep the digest, which somebody computed who had the bytes in hand."""
        self._digest = digest

    def chunks(self) -> Iterable[bytes | memoryview]:
        """The canonical bytes: header, then numbers."""
        yield header(self.type, self.nbytes)
        yield from self.numbers()

    def numbers(self) -> Iterable[memoryview]:
        """The bytes of the numbers: row-major, little-endian."""
        array = np.asarray(self.array)
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        if array.nbytes:
            yield memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        type = self.type
        return math.prod(type.shape) * _itemsize(type.dtype)  # type: ignore[arg-type]


def _strong(array: Any) -> Any:
    """The array with the type that it says: one of a Python number is weak, and traced apart."""
    return array.astype(array.dtype) if getattr(array, "weak_type", False) else array


# Asked of every tensor, of few dtypes.
_name = cache(lambda dtype: jnp.dtype(dtype).name)
_floating = cache(lambda dtype: bool(jnp.issubdtype(dtype, jnp.inexact)))
_itemsize = cache(lambda name: jnp.dtype(name).itemsize)


@lru_cache(maxsize=1024)  # of the same few types, asked of every tensor
def header(type: ArrayType, nbytes: int) -> bytes:
    """The canonical safetensors header of one tensor named ``data``."""
    return framed({"data": describe(type, 0, nbytes)})


def describe(type: ArrayType, start: int, end: int) -> dict[str, Any]:
    """What a safetensors header says of one tensor. Raises SpecError for a dtype it can not say."""
    if type.dtype not in SAFETENSORS:
        text = errors.NO_SAFETENSORS.format(dtype=type.dtype, known=", ".join(SAFETENSORS))
        raise errors.SpecError(text)
    return {
        "data_offsets": [start, end],
        "dtype": SAFETENSORS[type.dtype],
        "shape": list(type.shape),
    }


def framed(entries: dict[str, dict[str, Any]]) -> bytes:
    """A safetensors header: keys sorted, padded so that the numbers start at a multiple of 64."""
    text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


class Weights:
    """The weights of one part: a tree of tensors, immutable."""

    __slots__ = ("structure", "tensors")

    def __init__(self, structure: Any, tensors: tuple[Tensor, ...]) -> None:
        self.structure = structure
        self.tensors = tensors

    @classmethod
    def of(cls, tree: Any) -> "Weights":
        """The weights that a tree of arrays or tensors holds."""
        leaves, structure = jax.tree.flatten(tree, is_leaf=lambda v: isinstance(v, Tensor))
        return cls(structure, tuple(v if isinstance(v, Tensor) else Tensor(v) for v in leaves))

    @property
    def traced(self) -> bool:
        """Whether they are inside of a JAX transformation, where numbers have no values."""
        return any(t.traced for t in self.tensors)

    @property
    def type(self) -> Any:
        """The type of the tree."""
        return jax.tree.unflatten(self.structure, [t.type for t in self.tensors])

    @property
    def arrays(self) -> Any:
        """The tree of arrays."""
        return jax.tree.unflatten(self.structure, [t.array for t in self.tensors])

    @property
    def digests(self) -> tuple[str, ...]:
        """The digest of every tensor, in order."""
        return tuple(t.digest for t in self.tensors)

    def items(self) -> list[tuple[tuple[str, ...], Tensor]]:
        """Every tensor with its path, in order."""
        tree = jax.tree.unflatten(self.structure, self.tensors)
        return [
            (tuple(str(getattr(k, "key", getattr(k, "idx", k))) for k in path), tensor)
            for path, tensor in jax.tree_util.tree_flatten_with_path(tree)[0]
        ]
