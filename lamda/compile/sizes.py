"""Sizes: the numbers that a model's named dimensions are compiled for."""

from collections.abc import Mapping, Sequence
from itertools import product

from lamda import errors, types
from lamda.model import Model
from lamda.types import Type

Given = int | Sequence[int] | None
Sizes = dict[str, list[int]]


def batch_dimension(input: Type) -> str | None:
    """The named first axis that all inputs share, if they do."""
    first = {leaf.shape[0] if leaf.shape else None for _, leaf in types.leaves(input)}
    (dim,) = first if len(first) == 1 else (None,)
    return dim if isinstance(dim, str) else None


def resolve(model: Model, batch: Given, sizes: Mapping[str, Given]) -> Sizes:
    """Ascending sizes for every free dimension of the input, in order of their appearance.

    ``batch`` are sizes of the batch dimension, whatever its name, and 1 where nothing is said.
    Raises SpecError, which asks by name for what is missing.
    """
    input = model.require_input()
    free = types.names(input)
    first = batch_dimension(input)
    given = dict(sizes)
    if "batch" in free and batch is not None:
        given["batch"] = batch
    elif batch is not None:
        if first is None:
            shapes = ", ".join(types.show(leaf) for _, leaf in types.leaves(input))
            raise errors.SpecError(errors.NO_BATCH.format(name=model, first=shapes))
        given.setdefault(first, batch)
    if first is not None:
        given.setdefault(first, 1)
    unknown = [name for name in given if name not in free]
    if unknown:
        text = errors.UNKNOWN_SIZES.format(
            name=model, given=unknown[0], free=", ".join(free) or "none"
        )
        raise errors.SpecError(text)
    missing = [name for name in free if name not in given]
    if missing:
        example = ", ".join(f"{name}=128" for name in missing)
        text = errors.NEED_SIZES.format(name=model, free=", ".join(free), example=example)
        raise errors.SpecError(text)
    return {name: _ascending(name, given[name]) for name in free}


def promised(model: Model, names: str | Sequence[str], sizes: Sizes) -> list[str]:
    """The dimensions along which padding with zeros changes nothing, as the caller says.

    Raises SpecError for one that the input does not have.
    """
    chosen = sorted({names} if isinstance(names, str) else {*names})
    for name in chosen:
        if name not in sizes:
            free = ", ".join(sizes) or "none"
            text = errors.UNKNOWN_SIZES.format(name=model, given=name, free=free)
            raise errors.SpecError(text)
    return chosen


def _ascending(dim: str, given: Given) -> list[int]:
    numbers = [given] if isinstance(given, int) else list(given or ())
    if not numbers or any(type(n) is not int or n < 1 for n in numbers):
        raise errors.SpecError(errors.BAD_SIZES.format(dim=dim, given=given))
    return sorted(set(numbers))


def combinations(sizes: Sizes) -> list[dict[str, int]]:
    """Every choice of one size for each dimension."""
    return [dict(zip(sizes, chosen, strict=True)) for chosen in product(*sizes.values())]
