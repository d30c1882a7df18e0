"""Requests: bytes that are a value of a handler's input type, and bytes that are not."""

import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import msgpack
import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lamda import types
from lamda.compile.handler import Handler as Compiled
from lamda.testing import strategies
from lamda.types import ArrayType, Type
from serve.batching import Batching
from serve.body.forms import JSON, MSGPACK, NPY
from serve.handler import Handler

DEEP = 3000
"""Lists in lists: deeper than what is read."""


class Request(NamedTuple):
    """What is sent to a handler."""

    body: bytes
    content_type: str | None
    accept: str | None
    valid: bool
    why: str
    """What it is, or what is wrong with it."""
    x: Any = None
    """The value that a valid one holds."""

    @property
    def headers(self) -> dict[str, str]:
        """Its HTTP headers."""
        named = {"content-type": self.content_type, "accept": self.accept}
        return {name: value for name, value in named.items() if value is not None}


def requests(handler: Handler | Compiled, *, padded: bool = True) -> SearchStrategy[Request]:
    """A request to a handler, of ``serve.load`` or ``lm.compile``: valid or broken.

    Without ``padded``, valid ones have just the sizes that there are programs for.
    """
    return st.one_of(valid(handler, padded=padded), broken(handler).flatmap(st.sampled_from))


def valid(handler: Handler | Compiled, *, padded: bool = True) -> SearchStrategy[Request]:
    """A request that is a value of the input type, in one of the forms that the handler takes."""
    serving_it = serving(handler)
    return _values(serving_it, padded).flatmap(
        lambda x: st.sampled_from(list(_valid(x, _input(serving_it))))
    )


def broken(handler: Handler | Compiled) -> SearchStrategy[list[Request]]:
    """All requests that one mistake each makes of one value."""
    serving_it = serving(handler)
    return _values(serving_it, False).map(
        lambda x: list(_broken(x, _input(serving_it), serving_it.max_bytes))
    )


def serving(handler: Handler | Compiled) -> Handler:
    """The handler as ``serve`` has it."""
    return handler if isinstance(handler, Handler) else handler._serve


def _input(handler: Handler) -> Type:
    return types.from_json(handler.bundle.input)


def _values(handler: Handler, padded: bool) -> SearchStrategy[Any]:
    sizes = st.fixed_dictionaries(_sizes(handler, padded))
    return sizes.flatmap(lambda chosen: strategies.arrays(_input(handler), chosen))


def _sizes(handler: Handler, padded: bool) -> dict[str, SearchStrategy[int]]:
    """Sizes that a handler takes for every named dimension."""
    exact = Batching(handler.bundle, handler.engine).exact
    batch = handler.bundle.batch
    return {
        name: st.sampled_from(numbers)
        if name in exact or not padded
        else st.integers(1, 2 * numbers[-1] + 1 if name == batch else numbers[-1])
        for name, numbers in handler.bundle.sizes.items()
    }


def _valid(x: Any, input: Type) -> Iterator[Request]:
    """The same value in every form, and with what clients say of it."""
    for accept in (None, "*/*", "application/msgpack, application/json;q=0.5"):
        for said in (JSON, None, f"{JSON}; charset=utf-8"):
            yield Request(_json(x), said, accept, True, "JSON", x)
        yield Request(_msgpack(x, input), MSGPACK, accept, True, "msgpack of arrays", x)
    yield Request(_pack(_lists(x)), MSGPACK, JSON, True, "msgpack of lists", x)
    if isinstance(input, ArrayType):
        yield Request(_npy(x), NPY, None, True, "npy", x)


def _broken(x: Any, input: Type, max_bytes: int) -> Iterator[Request]:
    """Everything that can be wrong, one thing in each."""
    packed, good = _msgpack(x, input), Request(_json(x), JSON, None, False, "")
    for body, why in (
        (good.body + b"]", "JSON that goes on"),
        (b"{", "JSON that is cut short"),
        (b"\xff" + good.body, "not UTF-8"),
        (b"", "empty"),
        (b"[" * DEEP + b"]" * DEEP, "lists nested too deeply"),
        (b"null", "null"),
        (b"9" * 5000, "too many digits"),
        *((json.dumps(bad).encode(), why) for bad, why in _wrong(x, input)),
        *((text.encode(), "a number that is none") for text in _numbers(x, input)),
    ):
        yield Request(body, JSON, None, False, why)
    for body, why in (
        (packed[:-1], "msgpack that is cut short"),
        (packed + b"\0", "msgpack that goes on"),
        (b"\x91" * DEEP + b"\xc0", "msgpack nested too deeply"),
        (b"\xc1", "no msgpack"),
        (b"", "empty"),
        *((_pack(bad), why) for bad, why in _wrong(x, input)),
        *((_pack(bad), why) for bad, why in _untyped(x, input)),
    ):
        yield Request(body, MSGPACK, None, False, why)
    for body, why in _bad_npy(x, input):
        yield Request(body, NPY, None, False, why)
    for form in ("image/png", "application/json+ld"):
        yield good._replace(content_type=form, why="unknown form")
    for accept in ("image/png", f"{JSON};q=0, {MSGPACK};q=0, {NPY};q=0"):
        yield good._replace(accept=accept, why="no form of answer")
    if max_bytes <= 1 << 20:
        long = good.body + b" " * max_bytes
        yield Request(long, JSON, None, False, "too long")


def _wrong(x: Any, input: Type) -> Iterator[tuple[Any, str]]:
    """Plain values of another type."""
    value = _lists(x)
    yield {"no such key": value}, "a key that is not asked for"
    yield "text", "a text"
    if isinstance(input, tuple):
        if value:
            yield value[:-1], "a tuple that is too short"
        yield [*value, 0], "a tuple that is too long"
    elif isinstance(input, dict) and input:
        yield dict(list(value.items())[1:]), "a key is missing"
        yield {**value, "extra": 0}, "a key too many"
    leaves, tree = jax.tree.flatten(x)
    if leaves:
        (_, first), *_ = types.leaves(input)
        rest = [np.asarray(leaf).tolist() for leaf in leaves[1:]]
        for bad, why in _wrong_arrays(np.asarray(leaves[0]), first):
            yield jax.tree.unflatten(tree, [bad, *rest]), why


def _wrong_arrays(array: np.ndarray, first: ArrayType) -> Iterator[tuple[Any, str]]:
    """Nested lists that are no array of the type; ``array`` is one."""
    yield [array.tolist()], "a rank too many"
    fixed = [axis for axis, dim in enumerate(first.shape) if isinstance(dim, int)]
    if fixed:
        wider = [(0, int(axis == fixed[-1])) for axis in range(array.ndim)]
        yield np.pad(array, wider).tolist(), "an axis that is too long"
    if array.ndim and isinstance(first.shape[0], str):
        yield array[:0].tolist(), "no rows"
    if array.size:
        items = array.reshape(-1).tolist()
        for bad in ("one", None, *_no_numbers(first.dtype)):
            yield _nested([bad, *items[1:]], array.shape), f"{bad!r} among the numbers"


def _no_numbers(dtype: str) -> tuple[Any, ...]:
    """What is no number of a dtype."""
    if dtype == "bool":
        return 1, 0.0
    if "int" in dtype:
        return True, 0.5, -1 if dtype == "uint64" else (1 << 64) - 1
    return (True,) if dtype == "float64" else (True, 1e300)


def _numbers(x: Any, input: Type) -> Iterator[str]:
    """JSON texts with a number that is none, or is none of JSON."""
    text = _json(x).decode()
    digits = next((i for i, c in enumerate(text) if c in "-0123456789"), None)
    if digits is not None:
        end = next(i for i in range(digits, len(text) + 1) if text[i : i + 1] not in _NUMERAL)
        for bad in ("NaN", "Infinity", "-Infinity", "1e999", "01", "0x1"):
            yield text[:digits] + bad + text[end:]


_NUMERAL = frozenset("-+.eE0123456789")


def _untyped(x: Any, input: Type) -> Iterator[tuple[Any, str]]:
    """Plain values whose first array is described wrongly."""
    leaves, tree = jax.tree.flatten(x)
    if not leaves:
        return
    arrays = zip(leaves, types.leaves(input), strict=True)
    first, *rest = [_described(array, leaf) for array, (_, leaf) in arrays]
    for change, why in (
        ({"dtype": "float64"}, "another dtype"),
        ({"dtype": 4}, "a dtype that is none"),
        ({"shape": [*first["shape"], 1]}, "a rank too many"),
        ({"shape": [-1]}, "a length below zero"),
        ({"shape": [1 << 62, 1 << 62]}, "a shape without its bytes"),
        ({"data": first["data"] + b"\0"}, "a byte too many"),
        ({"data": "text"}, "a text for bytes"),
        ({"more": 1}, "a key too many"),
    ):
        yield jax.tree.unflatten(tree, [{**first, **change}, *rest]), why


def _bad_npy(x: Any, input: Type) -> Iterator[tuple[bytes, str]]:
    if not isinstance(input, ArrayType):
        yield b"\x93NUMPY", "npy for what is not one array"
        return
    good = _npy(x)
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], object), allow_pickle=True)
    yield pickled.getvalue(), "npy with a pickle"
    yield good[:40], "npy that is cut short"
    yield good[:-1], "npy without its last byte"
    yield good + b"\0", "npy that goes on"
    yield good.replace(b"fortran_order", b"fortran_odder"), "npy with another header"
    yield b"PK" + good, "no npy"
    yield _npy(np.zeros(np.shape(x), np.complex64)), "npy of another dtype"
    yield _npy(np.asarray(x)[None]), "npy of a rank too many"
    if np.ndim(x) == 2:
        yield good.replace(b"'fortran_order': False", b"'fortran_order': True "), "Fortran order"


def _lists(x: Any) -> Any:
    """A value as JSON has it: arrays are nested lists."""
    if isinstance(x, dict):
        return {key: _lists(inner) for key, inner in x.items()}
    return [_lists(inner) for inner in x] if isinstance(x, tuple) else np.asarray(x).tolist()


def _nested(items: list[Any], shape: tuple[int, ...]) -> Any:
    box = np.empty(len(items), object)
    box[:] = items
    return box.reshape(shape).tolist()


def _described(x: Any, input: Type) -> Any:
    """A value as msgpack has it: arrays are a dtype, a shape and bytes."""
    if isinstance(input, ArrayType):
        array = np.asarray(x)
        return {"dtype": input.dtype, "shape": list(array.shape), "data": array.tobytes()}
    if isinstance(input, tuple):
        return [_described(inner, of) for inner, of in zip(x, input, strict=True)]
    return {key: _described(x[key], of) for key, of in input.items()}


def _pack(value: Any) -> bytes:
    return msgpack.Packer().pack(value)


def _json(x: Any) -> bytes:
    return json.dumps(_lists(x)).encode()


def _msgpack(x: Any, input: Type) -> bytes:
    return _pack(_described(x, input))


def _npy(x: Any) -> bytes:
    array = np.asarray(x)
    file = io.BytesIO()
    np.save(file, array.view("V2") if array.dtype.name == "bfloat16" else array)
    return file.getvalue()
