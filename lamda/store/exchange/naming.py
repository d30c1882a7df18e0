"""Naming: the arrays of a file in their places in a model, by path."""

import re
from collections.abc import Mapping
from typing import Any

import jax

from lamda import errors, types
from lamda.model import Model
from lamda.store.exchange.trees import ROOT
from lamda.tensor import Tensor, Weights

MOST = 20
"""Names of each kind that an error lists."""
LONGEST = 200
"""Characters of each of them."""


def exported(model: Model) -> dict[str, Tensor]:
    """Every tensor of a model by its path, frozen ones too.

    Raises SpecError where two have one path: a key of weights may hold a ``/``.
    """
    found: dict[str, Tensor] = {}
    for parts, tensor, _ in model.tensors():
        path = "/".join(parts) or ROOT
        if path in found:
            raise errors.SpecError(errors.SAME_PATH.format(name=model.name, path=path))
        found[path] = tensor
    return found


def loaded(
    model: Model,
    arrays: Mapping[str, Any],
    rename: Mapping[str, str] | None = None,
    strict: bool = True,
    path: Any = "these weights",
) -> Model:
    """The model with the arrays of a file in their places, frozen ones too.

    A name is a path with ``/`` or ``.`` between its parts. ``rename`` maps a name, or the beginning
    of names, to what stands there in the model. ``strict``: nothing is missing, nothing is left.

    >>> import jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda w, x: x * w["s"], {"s": jnp.ones(2)}, input="float32[b, 2]")
    >>> loaded(f, {"net.s": jnp.zeros(2)}, rename={"net": ""}).weights["s"].tolist()
    [0.0, 0.0]

    Raises SpecError, which lists all that is missing, left, or of another type.
    """
    old = exported(model)
    placed = _placed([*old], arrays, rename or {}, path)
    wrong = [
        f"{name}: {types.show(given)} is not {types.show(old[name].type)}"
        for name in old
        if name in placed and (given := types.typeof(placed[name][1])) != old[name].type
    ]
    missing = [name for name in old if name not in placed] if strict else []
    taken = {given for given, _ in placed.values()}
    extra = [given for given in arrays if given not in taken] if strict else []
    if wrong or missing or extra:
        told = [("of another type", wrong), ("missing", missing), ("not asked for", extra)]
        lines = "".join(f"\n  {what}: {_several(names)}" for what, names in told if names)
        raise errors.SpecError(errors.NOT_IMPORTED.format(path=path, model=model.name, lines=lines))
    return _bound(model, {name: array for name, (_, array) in placed.items()})


def _bound(model: Model, arrays: Mapping[str, Any]) -> Model:
    """The model with new arrays; a part whose numbers stay is the part that it was."""
    bound: dict[Any, Weights] = {}
    for slot, path in model.slots.items():
        old = model.environment[slot]
        names = ["/".join((*path, *leaf)) or ROOT for leaf, _ in old.items()]
        pairs = zip(names, old.tensors, strict=True)
        tensors = tuple(_same(arrays[n], t) if n in arrays else t for n, t in pairs)
        if any(a is not b for a, b in zip(tensors, old.tensors, strict=True)):
            bound[slot] = Weights(old.structure, tensors)
    return model.bind(bound) if bound else model


def _same(array: Any, old: Tensor) -> Tensor:
    new = Tensor(jax.device_put(array))
    return old if new.digest == old.digest else new


def _placed(
    paths: list[str], arrays: Mapping[str, Any], rename: Mapping[str, str], where: Any
) -> dict[str, tuple[str, Any]]:
    """For each path of the model: the name in the file, and the array."""
    by_parts: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        by_parts.setdefault(_parts(path), []).append(path)
    placed: dict[str, tuple[str, Any]] = {}
    for name, array in arrays.items():
        parts = _renamed(name, rename)
        found = [name] if name in paths and not rename else by_parts.get(parts, [])
        if len(found) > 1 or (found and found[0] in placed):
            other = found[1] if len(found) > 1 else placed[found[0]][0]
            text = errors.TWO_NAMES.format(path=where, name=name, other=other)
            raise errors.SpecError(text)
        if found:
            placed[found[0]] = name, array
    return placed


def _renamed(name: str, rename: Mapping[str, str]) -> tuple[str, ...]:
    """The parts of a name with the longest beginning that is renamed put otherwise."""
    parts = _parts(name)
    for old, new in sorted(rename.items(), key=lambda item: -len(_parts(item[0]))):
        start = _parts(old)
        if parts[: len(start)] == start:
            return (*_parts(new), *parts[len(start) :]) or (ROOT,)
    return parts


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[/.]", name) if part)


def _several(names: list[str]) -> str:
    more = f", and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(name[:LONGEST] for name in names[:MOST]) + more
