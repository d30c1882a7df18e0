"""`POST /feedback` keeps a request and its label: a record, which `lamda data add` makes rows of.

LAMDA_FEEDBACK says where: a directory, or `s3://BUCKET/PREFIX`. A record is a safetensors file with
the leaves of the input as `inputs`, or `inputs/ids`, and the label as `targets`; its name is the
SHA-256 of its bytes, so what is sent twice is kept once (docs/data.md). The model is not run.
"""

from __future__ import annotations

import json
import os
from itertools import chain

from serve.arrays import SIZES, Array, fit
from serve.batching import Batching
from serve.body import codec
from serve.body.forms import JSON, MSGPACK, requested
from serve.body.lists import from_lists, shown
from serve.errors import RequestError, ServeError
from serve.types import Leaf, leaves

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.handler import Handler

PLACE = "LAMDA_FEEDBACK"
DEEPEST = 8  # axes of a label
ALIGNMENT = 64
# As safetensors names them.
CODES = {
    "bool": "BOOL", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8",
    "uint16": "U16", "uint32": "U32", "uint64": "U64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64",
}  # fmt: skip

OFF = f"no feedback is taken here: whoever runs the handler says where to keep it by {PLACE}"
STREAMS = "no feedback is taken of a model that streams: a request is one piece of a whole"
NO_ROWS = "no feedback is taken of this model: {where} is {leaf}, which does not begin with {batch}"
FORM = 'expected an object with the keys "request" and "label", got {given}'
LABELS = "label: expected a list of {rows}, a label for each row of the request, got {given}"
NUMBERS = "label: expected numbers, or nested lists of numbers, got {given}"
NOT_KEPT = "the feedback could not be kept, and may be sent again: {logged}"
WRONG = f"{PLACE} should be a directory or s3://BUCKET/PREFIX, found {{found!r}}"


def answer(
    handler: Handler, headers: Mapping[str, str], body: bytes
) -> tuple[int, bytes, dict[str, str]]:
    """202 and the digest of the record, once that is kept.

    Raises:
        RequestError: it is no request of this model with labels; 404, no feedback is taken here;
            503, it could not be kept.
    """
    if not (place := os.environ.get(PLACE)):
        raise RequestError(OFF, 404)
    data = record(handler, body, headers.get("content-type"))
    digest = _sha256(data)
    try:
        keep(place, f"{digest}.safetensors", data)
    except OSError:
        from serve.http.routes import logged

        text = NOT_KEPT.format(logged=logged(headers.get("x-request-id")))
        raise RequestError(text, 503) from None
    return 202, json.dumps({"record": f"sha256:{digest}"}).encode(), {}


def record(handler: Handler, body: bytes, content_type: str | None = JSON) -> bytes:
    """The record of a request and its label.

    Raises:
        RequestError: it is none of this model.
    """
    if len(body) > handler.max_bytes:
        text = f"expected at most {handler.max_bytes} bytes, got {len(body)}: send fewer rows"
        raise RequestError(text, 413)
    if getattr(handler.bundle, "stream", None) is not None:
        raise RequestError(STREAMS, 404)
    form = requested(content_type, [JSON, MSGPACK])
    value = codec.parse(body, form)
    if type(value) is not dict or set(value) != {"request", "label"}:
        raise RequestError(FORM.format(given=shown(value)))
    rows, arrays = _rows(handler, handler._spoken(value["request"], form))
    paths = [("inputs", *leaf.path) for leaf in leaves(handler.bundle.input)]
    named = {"/".join(map(str, path)): a for path, a in zip(paths, arrays, strict=True)}
    return safetensors(named | {"targets": label(value["label"], rows)})


def _rows(handler: Handler, arrays: list[Array]) -> tuple[int, list[Array]]:
    """How many rows a request has, and its arrays, each of which begins with that axis.

    Requests of several lengths become rows of one: where the handler pads, this pads to the
    largest size that there are programs for.
    """
    batching = Batching(handler.bundle, handler.engine)
    sizes = batching._bind(arrays)
    if (batch := batching.batch) is None:
        rows, widest = 1, sizes
    else:
        rows = sizes[batch]
        widest = {d: n if d in {batch, *batching.exact} else batching.sizes[d][-1]
                  for d, n in sizes.items()}  # fmt: skip
    found = []
    for a, leaf in zip(arrays, batching.inputs, strict=True):
        if batch is None:
            a = Array(a.dtype, (1, *a.shape), a.data)
        elif leaf.dims[:1] != (batch,):
            raise RequestError(NO_ROWS.format(where=leaf.where, leaf=leaf, batch=batch), 404)
        else:
            a = fit(a, tuple(d if isinstance(d, int) else widest[d] for d in leaf.dims))
        found.append(a)
    return rows, found


def label(value: Any, rows: int) -> Array:
    """The labels of the rows: whole numbers and truth values are int32, others float32.

    Raises:
        RequestError: they are no nested lists of numbers, or not one for each row.
    """
    if type(value) is not list:
        value = [value]
    if len(value) != rows:
        raise RequestError(LABELS.format(rows=rows, given=shown(value)))
    shape, items = (rows,), value
    while any(type(item) is list for item in items):
        first = next(item for item in items if type(item) is list)
        shape = (*shape, len(first))
        items = list(chain.from_iterable(i if type(i) is list else [i] for i in items))
        if len(shape) > DEEPEST:
            raise RequestError(NUMBERS.format(given=f"lists nested more than {DEEPEST} deep"))
    kinds = set(map(type, items))
    if kinds - {bool, int, float} or not items:
        wrong = next((item for item in items if type(item) not in (bool, int, float)), [])
        raise RequestError(NUMBERS.format(given=shown(wrong)))
    leaf = Leaf((), "float32" if float in kinds else "int32", shape)
    try:
        return from_lists(_numbers(value) if bool in kinds else value, leaf)
    except RequestError as error:
        raise RequestError(f"label{str(error).removeprefix('input')}") from None


def _numbers(value: Any) -> Any:
    """Nested lists whose truth values are numbers."""
    if type(value) is list:
        return [_numbers(each) for each in value]
    return int(value) if type(value) is bool else value


def safetensors(named: Mapping[str, Array]) -> bytes:
    """The arrays as a safetensors file: the widest first, so that each stays aligned.

    Source: https://github.com/huggingface/safetensors#format
    """
    order = sorted(named, key=lambda name: (-SIZES[named[name].dtype], name))
    entries, at = {}, 0
    for name in order:
        a = named[name]
        end = at + len(a.data)
        entries[name] = {"data_offsets": [at, end], "dtype": CODES[a.dtype], "shape": a.shape}
        at = end
    header = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    data = (named[name].data for name in order)
    return b"".join((len(header).to_bytes(8, "little"), header, *data))


def keep(place: str, name: str, data: bytes) -> None:
    """Keep a record for good, unless it is there.

    Raises:
        OSError: it could not be kept.
        ServeError: that is no place for records.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return _write(place, name, data)
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise ServeError(WRONG.format(found=place))
    from serve.aws import objects

    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    objects.put(bucket, prefix + name, data, "application/octet-stream")


def _write(folder: str, name: str, data: bytes) -> None:
    """Write a file in one durable step: it is there whole, or not at all."""
    path = os.path.join(folder, name)
    if os.path.isfile(path) and os.path.getsize(path) == len(data):
        return
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()
