"""Meaning: the address of a version, computed again from its programs and tensors as they are."""

from typing import TYPE_CHECKING, Any

from lamda import errors
from lamda.model import Model
from lamda.store import media, reading, shards
from lamda.tensor import Tensor

if TYPE_CHECKING:
    from lamda.store.catalogue import Catalogue


def recomputed(entry: dict[str, Any], store: "Catalogue") -> str:
    """The address of a record, from its bytes alone. Raises StoreError where it has none."""
    try:
        if entry.get("kind") == media.DATA:
            return shards.recomputed(entry, store.blobs)
        model = reading.read(entry, store.blobs, lambda: None)
        for path, tensor, _ in model.tensors():
            if Tensor(tensor.array).digest != tensor.digest:
                raise ValueError(f"the tensor {'/'.join(path)} is not what its digest says")
        for function in entry["functions"]:
            _require_program(function, store)
        return Model(
            model.term, model.environment, model.input, model.output, where=reading.WHERE
        ).address
    except (errors.StoreError, errors.MissingError, OSError):
        raise
    except Exception as error:  # whatever running what is stored does
        why = f"{type(error).__name__}: {error}"
        text = errors.BAD_CONFIG.format(digest=entry["address"], why=why)
        raise errors.StoreError(text) from error


def _require_program(function: dict[str, Any], store: "Catalogue") -> None:
    """Raises ValueError where a program is not what its digest says."""
    from jax import export

    from lamda import types
    from lamda.digest import digest

    program = export.deserialize(bytearray(store.blobs.get(function["program"])))
    free = sum(1 for _ in types.leaves(types.from_json(function["weights"])))
    if digest(program, free).value != function["digest"]:
        raise ValueError(f"the program of {function['name']} is not what its digest says")
