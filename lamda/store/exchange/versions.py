"""Versions out of weights that came from elsewhere: a successor, or an open model closed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from lamda import errors
from lamda.model import Model
from lamda.store.exchange import read
from lamda.store.exchange.naming import loaded
from lamda.versions import succ

if TYPE_CHECKING:
    from lamda.store.store import Store


def bring(
    store: "Store",
    path: str | Path,
    into: Model | str,
    ref: str | None = None,
    rename: Mapping[str, str] | None = None,
    strict: bool = True,
    input: Any = None,
) -> str:
    """Put a model with the weights of a file: see :meth:`Store.import_weights`."""
    if isinstance(into, Model):
        model = into
    else:
        model = store.get(into)
        ref = into if ref is None and store.head(into) is not None else ref
    if model.open:
        return store.put(_closed(model, path, rename, strict, input), ref=ref)
    return store.put(succ(model, loaded(model, read(path), rename, strict, path)), ref=ref)


def _closed(
    model: Model, path: str | Path, rename: Mapping[str, str] | None, strict: bool, input: Any
) -> Model:
    """An open model with the weights of a file, all of them."""
    if not strict:
        raise errors.SpecError(errors.OPEN_STRICT.format(name=model.name, path=path))
    arrays = read(path)
    shape = model.init(jax.random.key(0), input)  # whose numbers are all replaced
    return loaded(shape, arrays, rename, True, path)
