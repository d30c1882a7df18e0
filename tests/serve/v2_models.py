"""Models for the tests of the Open Inference Protocol, and what its clients say of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from memory import Bundle, dtype, handler
from tokenizers import Tokenizer, models, pre_tokenizers

from serve.handler import Handler
from serve.v2.model import DATATYPES


def typed(dtype: str, *dims: int | str) -> dict[str, Any]:
    return {"array": [dtype, list(dims)]}


def every(**more: Any) -> Handler:
    """The identity on one array of each dtype, at `each.DTYPE`, with 2 columns; a scalar, `one`."""
    each = {name: typed(name, "b", 2) for name in DATATYPES}
    of = {"dict": {"each": {"dict": each}, "one": typed("float32")}}
    return handler(Bundle(of, of, {"b": [1, 4]}), lambda *arrays: arrays, **more)


def arrays(rows: int = 4) -> dict[str, np.ndarray]:
    """An input of :func:`every`, by the names of its tensors."""
    numbers = np.arange(2 * rows).reshape(rows, 2)
    made = {f"each.{name}": (numbers % 2 if name == "bool" else numbers).astype(dtype(name))
            for name in sorted(DATATYPES)}  # fmt: skip
    return made | {"one": np.array(1.5, np.float32)}


def flat(**more: Any) -> Handler:
    """float32["b", 2] -> the sums of the rows, float32["b"]: one array in, one of rank 1 out."""
    bundle = Bundle(typed("float32", "b", 2), typed("float32", "b"), {"b": [1, 4]})
    return handler(bundle, lambda x: [x.sum(1)], **more)


def words(**more: Any) -> Handler:
    """Texts -> the number of words of each, int32["b"]."""
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    of = {"dict": {"ids": typed("int32", "b", "t"), "mask": typed("bool", "b", "t")}}
    entry = {"tokenizer": {}, "batch": "b", "length": "t", "ids": ["ids"], "mask": ["mask"]}
    bundle = Bundle(
        of, typed("int32", "b"), {"b": [1, 4], "t": [8]}, text=entry | {"max_length": 8},
        tokenizer=made.to_str().encode(),
    )  # fmt: skip
    return handler(bundle, lambda ids, mask: [mask.sum(1).astype(np.int32)], **more)


def tensor(name: str, array: np.ndarray, **more: Any) -> dict[str, Any]:
    """An array as an input of a request, without its data."""
    datatype = DATATYPES[array.dtype.name]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), **more}


def request(inputs: list[dict[str, Any]], **more: Any) -> bytes:
    """The JSON of a request."""
    return json.dumps({"inputs": inputs, **more}).encode()


def binary(given: dict[str, np.ndarray], **more: Any) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a request with all its tensors as binary data."""
    inputs = [
        tensor(name, array, parameters={"binary_data_size": array.nbytes})
        for name, array in given.items()
    ]
    text = request(inputs, **more)
    data = b"".join(array.tobytes() for array in given.values())
    return {"inference-header-content-length": str(len(text))}, text + data
