"""A model in the protocol's words: its tensors by name, its one version, its metadata."""

from __future__ import annotations

from serve.body.lists import shown
from serve.errors import RequestError
from serve.types import Leaf, leaves

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.handler import Handler
    from serve.types import Type

DATATYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
}
BYTES = "BYTES"
TEXT, IMAGE = "text", "image"  # what may stand for the input, where the bundle says how
PLATFORM = "lamda_stablehlo"
EXTENSIONS = ["binary_tensor_data"]


def names(of: Type, alone: str) -> dict[str, Leaf]:
    """The leaves of a type by the names of their tensors, in type order.

    The name is the path with `.` between its keys, and `alone` where the type is a single array.
    A `.` in a key is written `\\.`, so that no two leaves share a name.
    """
    return {
        name: Leaf((name,), leaf.dtype, leaf.dims)
        for leaf in leaves(of)
        for name in [".".join(map(_escaped, leaf.path)) if leaf.path else alone]
    }


def spoken_by(bundle: Any) -> list[str]:
    """The names of the tensors of texts or pictures that may stand for the input."""
    image = getattr(bundle, "image", None)
    return [TEXT] * (bundle.text is not None) + [IMAGE] * (image is not None)


def check(handler: Handler, name: str, version: str | None = None) -> None:
    """Refuse another model than this one, and another version: each has one, its address.

    Raises:
        RequestError: 404, it is another.
    """
    bundle = handler.bundle
    if name != bundle.name:
        raise RequestError(f"expected the model {shown(bundle.name)}, got {shown(name)}", 404)
    if version and version != bundle.address:
        text = f"expected the version {bundle.address}, or none, got {shown(version)}"
        raise RequestError(text, 404)


def server() -> dict[str, Any]:
    """What the server says of itself."""
    from importlib import metadata

    try:
        version = metadata.version("lamda")
    except metadata.PackageNotFoundError:  # a function that was deployed as files alone
        version = "unknown"
    return {"name": "lamda", "version": version, "extensions": EXTENSIONS}


def model(handler: Handler) -> dict[str, Any]:
    """What the server says of the model. Where texts or pictures go in, they are its one input."""
    bundle = handler.bundle
    spoken = [{"name": name, "datatype": BYTES, "shape": [-1]} for name in spoken_by(bundle)]
    inputs = [_tensor(name, leaf) for name, leaf in names(bundle.input, "input").items()]
    outputs = [_tensor(name, leaf) for name, leaf in names(bundle.output, "output").items()]
    return {
        "name": bundle.name,
        "versions": [bundle.address],
        "platform": PLATFORM,
        "inputs": spoken or inputs,
        "outputs": outputs,
    }


def described(name: str, leaf: Leaf) -> str:
    """`"ids" INT32[b, t]`: a tensor, as messages say it."""
    return f'"{name}" {DATATYPES[leaf.dtype]}[{", ".join(map(str, leaf.dims))}]'


def several(name: str) -> str:
    """`"text" BYTES[n]`: a tensor of texts or pictures, as messages say it."""
    return f'"{name}" {BYTES}[n]'


def _tensor(name: str, leaf: Leaf) -> dict[str, Any]:
    shape = [dim if isinstance(dim, int) else -1 for dim in leaf.dims]
    return {"name": name, "datatype": DATATYPES[leaf.dtype], "shape": shape}


def _escaped(key: str | int) -> str:
    return str(key).replace("\\", "\\\\").replace(".", "\\.")
