"""`decode(body, form, type)` is the leaves of a request; `encode(leaves, form, type)` an answer.

Forms and their rules are those of docs/bundle.md, "Requests and answers". Whatever a body
holds, the worst that comes of it is a RequestError that says where, what was expected and what
came.
"""

from __future__ import annotations

import json
from math import prod

from serve.arrays import SIZES, Array
from serve.body.forms import JSON, MSGPACK, NPY
from serve.body.lists import from_lists, shown, to_json
from serve.errors import RequestError
from serve.types import children, leaves, place, show

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from serve.types import Leaf, Type


def decode(body: bytes, form: str, of: Type) -> list[Array]:
    """The leaves of a request, in type order.

    Raises:
        RequestError: the body is not a value of the type in that form.
    """
    if form == NPY:
        if "array" not in of:
            text = f"expected {JSON} or {MSGPACK}, as the input {show(of)} is not a single array"
            raise RequestError(text, 415)
        from serve.body import npy

        leaf = next(leaves(of))
        return [checked(npy.from_npy(body, leaf), leaf)]
    return flatten(parse(body, form), form, of)


def encode(arrays: list[Array], form: str, of: Type) -> bytes:
    """The value of the type with these leaves, in that form."""
    if form == NPY:
        from serve.body import npy

        return npy.to_npy(arrays[0])
    if form == JSON:
        return _json_text(of, iter(arrays)).encode()
    import msgpack

    return msgpack.Packer().pack(_tree(of, iter(arrays)))


def parse(body: bytes, form: str) -> Any:
    """The plain value of a JSON or msgpack body."""
    try:
        return _json(body) if form == JSON else _msgpack(body)
    except RequestError:
        raise
    except RecursionError:
        raise RequestError("the request is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"the request is not UTF-8: {error.reason}") from None


def _json(body: bytes) -> Any:
    # utf-8-sig: some shells put a byte order mark before what they send.
    text = body.decode("utf-8-sig")
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise RequestError(f"the request is not JSON: {error.msg} at {where}") from None
    except RequestError:
        raise
    except ValueError:  # Python reads whole numbers of up to 4300 digits
        raise RequestError("a number in the request has too many digits") from None


def _msgpack(body: bytes) -> Any:
    import msgpack

    try:
        # Its limits follow from the length of the body: no header can claim more than there is.
        return msgpack.unpackb(body, object_pairs_hook=_object)
    except (RequestError, UnicodeDecodeError):
        raise
    except msgpack.exceptions.StackError:
        raise RequestError("the request is nested too deeply") from None
    except (ValueError, TypeError) as error:
        reason = str(error) or type(error).__name__
        raise RequestError(f"the request is not msgpack: {reason}") from None


def flatten(value: Any, form: str, of: Type, path: tuple[str | int, ...] = ()) -> list[Array]:
    """The leaves of a plain value, in type order."""
    if "array" in of:
        return [_array(value, form, next(leaves(of, path)))]
    _same_keys(value, of, path)
    return [
        leaf
        for key, child in children(of)
        for leaf in flatten(value[key], form, child, (*path, key))
    ]


def _same_keys(value: Any, of: Type, path: tuple[str | int, ...]) -> None:
    where = place(path)
    if "tuple" in of:
        length = len(of["tuple"])
        if type(value) is not list or len(value) != length:
            text = f"{where}: expected a list of {length}, {show(of)}, got {shown(value)}"
            raise RequestError(text)
        return
    if type(value) is not dict:
        raise RequestError(f"{where}: expected an object, {show(of)}, got {shown(value)}")
    for key in of["dict"]:
        if key not in value:
            raise RequestError(f'{where}: "{key}" is missing, expected {show(of)}')
    for key in value:
        if key not in of["dict"]:
            raise RequestError(f"{where}: {shown(key)} is unknown, expected {show(of)}")


def _array(value: Any, form: str, leaf: Leaf) -> Array:
    if form == JSON or type(value) is not dict:
        return from_lists(value, leaf, finite=form == JSON)
    if set(value) != {"dtype", "shape", "data"}:
        text = f'{leaf.where}: expected the keys "dtype", "shape" and "data", or lists, for {leaf}'
        raise RequestError(f"{text}, got {shown(value)}")
    dtype, shape, data = value["dtype"], value["shape"], value["data"]
    if dtype != leaf.dtype:
        text = f'{leaf.where}["dtype"]: expected "{leaf.dtype}" for {leaf}, got {shown(dtype)}'
        raise RequestError(text)
    if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        text = f'{leaf.where}["shape"]: expected a list of whole numbers for {leaf}'
        raise RequestError(f"{text}, got {shown(shape)}")
    if type(data) is not bytes:
        raise RequestError(f'{leaf.where}["data"]: expected bytes for {leaf}, got {shown(data)}')
    return checked(Array(dtype, tuple(shape), data), leaf)


def checked(a: Array, leaf: Leaf) -> Array:
    """The array, if it has the dtype and rank of the leaf and as many bytes as its shape says.

    Raises:
        RequestError: it has not.
    """
    if a.dtype != leaf.dtype or len(a.shape) != len(leaf.dims):
        got = f"{a.dtype} with {len(a.shape)} dimensions"
        raise RequestError(f"{leaf.where}: expected {leaf}, got {got}")
    size = prod(a.shape) * SIZES[a.dtype]
    if len(a.data) != size:
        text = f"{leaf.where}: expected {size} bytes for {a.dtype}{list(a.shape)}"
        raise RequestError(f"{text}, got {len(a.data)} bytes")
    if a.dtype == "bool" and a.data.strip(b"\0\1"):
        raise RequestError(f"{leaf.where}: expected bytes 0 and 1 for {leaf}, got another")
    return a


def _object(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[Any] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise RequestError(f"the key {shown(twice)} comes twice in one object")
    return value


def _constant(name: str) -> Any:
    raise RequestError(f"{name} is not JSON: expected a finite number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _json_text(of: Type, arrays: Iterator[Array]) -> str:
    if "array" in of:
        return to_json(next(arrays))
    parts = [(key, _json_text(child, arrays)) for key, child in children(of)]
    if "tuple" in of:
        return "[" + ",".join(text for _, text in parts) + "]"
    return "{" + ",".join(f"{json.dumps(key)}:{text}" for key, text in parts) + "}"


def _tree(of: Type, arrays: Iterator[Array]) -> Any:
    if "array" in of:
        a = next(arrays)
        return {"dtype": a.dtype, "shape": list(a.shape), "data": bytes(a.data)}
    if "tuple" in of:
        return [_tree(child, arrays) for _, child in children(of)]
    return {key: _tree(child, arrays) for key, child in children(of)}
