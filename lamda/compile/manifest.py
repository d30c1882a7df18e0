"""Manifests: what docs/bundle.md says of a model, apart from the files."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jax

from lamda import errors, types
from lamda.compile.sizes import Sizes, batch_dimension
from lamda.model import Model
from lamda.types import ArrayType, Type
from lamda.versions import pred
from serve.body.image import Plan
from serve.errors import BundleError

FORMAT = "lamda.bundle/1"
# The smallest picture: one black pixel, as PNG.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def describe(model: Model, name: str, sizes: Sizes, text: dict[str, Any] | None) -> dict[str, Any]:
    """The manifest of a model without ``weights`` and ``programs``."""
    before = pred(model)
    input, output = model.require_input(), model.output
    assert output is not None
    return {
        "format": FORMAT,
        "name": name,
        "address": model.address,
        "pred": None if before is None else before.address,
        "input": types.to_json(input),
        "output": types.to_json(output),
        "batch": batch_dimension(input),
        "sizes": sizes,
        "example": {"text": ["an example"]} if text else example(input, sizes),
        "text": text,
        "provenance": {p: version(p) for p in ("jax", "jaxlib")},
    }


def canonical(value: Any) -> bytes:
    """Canonical JSON: one value, one text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def inputs(entries: dict[str, Any]) -> dict[str, Any]:
    """A manifest without what varies from build to build: the bytes of executables."""
    keyed = {**entries, "programs": _keyed(entries["programs"])}
    loop = entries.get("stream", {}).get("iterate")
    if loop is not None:
        parts = {part: loop[part] and _keyed(loop[part]) for part in ("step", "done")}
        keyed["stream"] = {"iterate": loop | parts}
    return keyed


def _keyed(programs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**program, "executables": [entry["key"] for entry in program["executables"]]}
        for program in programs
    ]


def example(input: Type, sizes: Sizes) -> Any:
    """A value of the input type at its smallest sizes, as request JSON: all zeros."""
    smallest = types.substitute(input, {name: numbers[0] for name, numbers in sizes.items()})
    arrays = types.transform(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), smallest)
    return _lists(arrays)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, tuple) else value.tolist()


def text(
    model: Model, tokenizer: dict[str, Any], sizes: Sizes, max_length: int | None
) -> dict[str, Any]:
    """How text becomes the input: by ``tokenizer``, a FILE, into leaves ``ids`` and ``mask``.

    Raises SpecError where the input has no such leaves.
    """
    input = model.require_input()
    found = {str(path[-1]): (path, leaf) for path, leaf in types.leaves(input) if path}
    fits = "ids" in found and set(found) <= {"ids", "mask"} and _is_tokens(found["ids"][1])
    if not fits:
        text = errors.BAD_TEXT.format(name=model, type=types.show(input))
        raise errors.SpecError(text)
    path, leaf = found["ids"]
    batch, length = leaf.shape
    return {
        "tokenizer": tokenizer,
        "batch": batch,
        "length": length,
        "ids": list(path),
        "mask": list(found["mask"][0]) if "mask" in found else None,
        "max_length": min(max_length or sizes[str(length)][-1], sizes[str(length)][-1]),
    }


def image(model: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """How a picture becomes the input: ``given``, and what is usual where it says nothing.

    Raises SpecError where the input is not one array of pictures.
    """
    input = types.to_json(model.require_input())
    usual = {"axes": _axes(input), "fit": "stretch", "filter": "bilinear", "mean": 0, "std": 1}
    if unknown := sorted(set(given) - set(usual)):
        text = errors.UNKNOWN_IMAGE.format(given=unknown[0], known=", ".join(usual))
        raise errors.SpecError(text)
    entry = {**usual, **given}
    try:
        Plan(entry, input)
    except BundleError as error:
        raise errors.SpecError(errors.BAD_IMAGE.format(name=model, reason=error)) from None
    return entry


def _axes(input: dict[str, Any]) -> str:
    """``bhwc`` for ``float32[b, 224, 224, 3]``: an axis of 1 or 3 is that of the channels."""
    dims = input.get("array", ["", []])[1]
    batch = "b" if dims and isinstance(dims[0], str) else ""
    sides = dims[len(batch) :]
    planar = len(sides) == 3 and sides[0] in (1, 3) and sides[2] not in (1, 3)
    return batch + ("hw" if len(sides) == 2 else "chw" if planar else "hwc")


def _is_tokens(leaf: ArrayType) -> bool:
    named = all(isinstance(dim, str) for dim in leaf.shape)
    return "int" in leaf.dtype and len(leaf.shape) == 2 and named
