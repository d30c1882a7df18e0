"""Exchange: weights in the files of other tools, by the paths that they have in a model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lamda import errors
from lamda.store.exchange import flax, orbax, safetensors
from lamda.store.files import written
from lamda.tensor import Tensor

FORMATS: Mapping[str, tuple[Callable[[Path], Any], Callable[..., None]]] = {
    "safetensors": (safetensors.read, safetensors.write),
    "msgpack": (flax.read, flax.write),
    "orbax": (orbax.read, orbax.write),
}
"""How each format is read and written; a file's name ends in that of its format."""


def read(path: str | Path) -> dict[str, Any]:
    """Every array of a file or directory, by its name: numbers of a safetensors file are mapped.

    A safetensors file, the index of a sharded one, a Flax msgpack file, an Orbax directory.
    Raises MissingError, SpecError, StoreError.
    """
    path = Path(path)
    if not path.exists():
        raise errors.MissingError(errors.NO_FILE.format(path=path))
    return FORMATS[_format(path)][0](path)


def write(path: str | Path, weights: Mapping[str, Tensor], address: str) -> None:
    """Write weights in the format that the name of a file says. Raises SpecError, DiskError."""
    path = Path(path)
    put = FORMATS[_named(path)][1]
    for name in weights:
        if name.encode(errors="replace") != name.encode(errors="surrogatepass"):
            why = f"the name {name!r} has no bytes in UTF-8"
            raise errors.SpecError(errors.NOT_EXPORTED.format(path=path, why=why))
    with written(path):
        put(path, weights, address)


def _format(path: Path) -> str:
    """The format of a file, by its name; that of a directory, by what is in it."""
    if path.is_dir():
        return "safetensors" if safetensors.shards(path) else "orbax"
    return "safetensors" if path.name.endswith(".safetensors.index.json") else _named(path)


def _named(path: Path) -> str:
    """The format that the end of a name says. Raises SpecError."""
    name = path.suffix.removeprefix(".")
    if name not in FORMATS:
        text = errors.NO_FORMAT.format(path=path, known=", ".join(f".{f}" for f in FORMATS))
        raise errors.SpecError(text)
    return name
