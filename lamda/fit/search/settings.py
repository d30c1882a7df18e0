"""Settings: what an optimiser is made with, every combination of a grid or a list of one's own.

Numbers can be arguments of a program: settings that differ in nothing else are trained in one.
Others, such as a string or a switch, are part of it.
"""

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lamda import errors

Settings = dict[str, Any]
Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]
Factory = Callable[..., Any]
"""``factory(**settings)`` is an optimiser, as ``optax.adam`` is a function of its settings."""


def factory_of(optimizer: Any, grid: Grid | None) -> Factory:
    """What makes the optimiser; an optimiser, where there is no grid, is what it is."""
    if not _optimises(optimizer) and callable(optimizer):
        return optimizer
    if grid is not None or not _optimises(optimizer):
        raise errors.SpecError(errors.SEARCH_FACTORY.format(given=type(optimizer).__name__))
    return lambda: optimizer


def settings(grid: Grid | None) -> list[Settings]:
    """All settings of a grid, the last name fastest; ``[{}]`` where there is none.

    >>> settings({"learning_rate": [0.1, 0.2], "nesterov": [True]})
    [{'learning_rate': 0.1, 'nesterov': True}, {'learning_rate': 0.2, 'nesterov': True}]

    Raises SpecError where there is nothing in it.
    """
    if grid is None:
        return [{}]
    if not isinstance(grid, Mapping):
        found = list(grid)
        if not found or not all(isinstance(each, Mapping) for each in found):
            raise errors.SpecError(errors.SEARCH_GRID.format(given=grid))
        return [dict(each) for each in found]
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray | jax.Array):
            raise errors.SpecError(errors.SEARCH_VALUES.format(name=name, given=values))
    if not grid or not all(len(values) for values in grid.values()):
        raise errors.SpecError(errors.SEARCH_GRID.format(given=dict(grid)))
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def made(factory: Factory, given: Settings) -> Any:
    """The optimiser of some settings. Raises SpecError where the factory does not take them."""
    name = getattr(factory, "__name__", type(factory).__name__)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # written in C, or not to be known
        signature = None
    if signature is not None:
        try:
            signature.bind(**given)
        except TypeError as error:
            taken = ", ".join(map(str, signature.parameters.values()))
            text = errors.SEARCH_SETTING.format(name=name, taken=taken, given=given, error=error)
            raise errors.SpecError(text) from None
    optimizer = factory(**given)
    if not _optimises(optimizer):
        text = errors.SEARCH_MADE.format(name=name, given=type(optimizer).__name__)
        raise errors.SpecError(text)
    return optimizer


def alike(
    factory: Factory, every: Sequence[Settings], use: Callable[[Any], Any]
) -> list[tuple[list[str], list[str], list[int]]]:
    """Which settings one program can be made with: the names that are its arguments, those of
    numbers that can not be, and the places of the settings.

    ``use`` does with an optimiser whatever is to be done with it. Raises SpecError for a setting
    that is no number and can not be compared.
    """
    found: dict[Any, tuple[list[str], list[str], list[int]]] = {}
    known: dict[Any, list[str]] = {}
    numeric = _numeric(every)
    for place, given in enumerate(every):
        kind = _key(given, numeric)
        own = [name for name in numeric if name in given]
        if kind not in known:
            known[kind] = _traceable(factory, given, own, use)
        traced = known[kind]
        lost = [name for name in own if name not in traced]
        found.setdefault(_key(given, traced), (traced, lost, []))[2].append(place)
    return list(found.values())


def arguments(given: Settings, names: Sequence[str]) -> dict[str, jax.Array]:
    """Some settings as arrays that promote as numbers of Python do."""
    return {name: jnp.asarray(float(given[name])) for name in names}


def _optimises(value: Any) -> bool:
    return hasattr(value, "init") and hasattr(value, "update")


def _numeric(every: Sequence[Settings]) -> list[str]:
    """The names whose values are numbers everywhere, at least one of them no whole number."""
    names = dict.fromkeys(name for each in every for name in each)
    values = {name: [each[name] for each in every if name in each] for name in names}
    return [n for n, of in values.items() if all(map(_real, of)) and any(map(_floating, of))]


def _traceable(
    factory: Factory, given: Settings, names: Sequence[str], use: Callable[[Any], Any]
) -> list[str]:
    """Those of the names that a factory takes without knowing their numbers."""

    def takes(some: Sequence[str]) -> bool:
        try:
            jax.eval_shape(lambda traced: use(factory(**(given | traced))), arguments(given, some))
        except (TypeError, ValueError):  # among them, what JAX says of asking for a number
            return False
        return True

    if takes(names):
        return list(names)
    each = [name for name in names if takes([name])]
    return each if takes(each) else []


def _key(given: Settings, traced: Sequence[str]) -> Any:
    """What settings of one program have in common."""
    for name, value in given.items():
        if name not in traced and not isinstance(value, Hashable):
            raise errors.SpecError(errors.SEARCH_UNHASHABLE.format(name=name, given=value))
    own = {name: (type(value), value) for name, value in given.items() if name not in traced}
    return frozenset(given), frozenset(own.items())


def _real(value: Any) -> bool:
    known = isinstance(value, int | float | np.number | np.ndarray | jax.Array)
    return known and np.ndim(value) == 0 and np.result_type(value).kind in "iuf"


def _floating(value: Any) -> bool:
    return np.result_type(value).kind == "f"


def fixed(given: Settings, traced: Sequence[str]) -> Settings:
    """The settings that are part of the program."""
    return {name: value for name, value in given.items() if name not in traced}
