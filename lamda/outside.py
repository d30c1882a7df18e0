"""What a function reaches outside of itself: its variables, and whether it writes to them."""

import contextlib
import dis
import functools
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import jax
import numpy as np

DEPTH = 8
"""How deep containers in containers are looked into."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_KEPT = (type, FunctionType, ModuleType, jax.Array)
_WRAPPERS = ("function", "func", "__func__", "__wrapped__")
_WRITES = {"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"}


class Outside:
    """The variables of a function that live outside of it, as they are now.

    Those are its closure, the globals that it names, its defaults, the object whose method it is,
    and those of the functions of the same module that it reaches in this way. What JAX keeps for
    its own functions is not looked at.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.function, owner = _unwrap(call)
        self.variables: dict[str, Any] = {} if owner is None else {"self": owner}
        self._assigned: dict[str, None] = {}
        if self.function is not None and not str(self.function.__module__).startswith("jax."):
            self._reach(self.function, set())
        self._before = self._state()

    @property
    def where(self) -> str:
        """The file and line of the function."""
        if self.function is None:
            return "?"
        return f"{self.function.__code__.co_filename}:{self.function.__code__.co_firstlineno}"

    def written(self) -> list[str]:
        """The variables that it assigns (``global``, ``nonlocal``), or that have changed by now."""
        now = self._state()
        changed = [name for name, state in self._before.items() if now[name] != state]
        return list(dict.fromkeys([*self._assigned, *changed]))

    def _reach(self, function: FunctionType, seen: set[int]) -> None:
        seen.add(id(function))
        self._assigned |= dict.fromkeys(_assigned(function.__code__))
        for name, value in _variables(function):
            self.variables.setdefault(name, value)
            helper, _ = _unwrap(value) if callable(value) else (None, None)
            near = helper is not None and helper.__module__ == function.__module__
            if helper is not None and near and id(helper) not in seen:
                self._reach(helper, seen)

    def _state(self) -> dict[str, Any]:
        return {name: _snapshot(value) for name, value in self.variables.items()}


def _unwrap(call: Any) -> tuple[FunctionType | None, Any]:
    """The Python function inside of a callable, and the object whose method it is."""
    owner = None
    for _ in range(DEPTH):
        if isinstance(call, FunctionType):
            return call, owner
        owner = getattr(call, "__self__", owner)
        inside = (getattr(call, name, None) for name in _WRAPPERS)
        found = next((f for f in inside if callable(f)), None)
        method = vars(type(call)).get("__call__")
        if found is None and isinstance(method, FunctionType):
            return method, call
        call = found
    return None, owner


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # a variable that is not bound yet
            yield name, cell.cell_contents
    for name in _names(code):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    defaults = function.__defaults__ or ()
    yield from zip(code.co_varnames[: code.co_argcount][::-1], defaults[::-1], strict=False)
    yield from (function.__kwdefaults__ or {}).items()


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType) -> Iterator[str]:
    for inner in _codes(code):
        yield from inner.co_names


def _assigned(code: CodeType) -> Iterator[str]:
    """The variables outside of a function that its code assigns."""
    for inner in _codes(code):
        for step in dis.get_instructions(inner):
            outer = step.opname.endswith("GLOBAL") or step.argval in code.co_freevars
            if step.opname in _WRITES and outer:
                yield step.argval


class _Same:
    """A value that is compared by what it is; plain values by what they are worth."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        plain = isinstance(self.value, _PLAIN) and type(self.value) is type(other.value)
        return self.value is other.value or (plain and self.value == other.value)


def _snapshot(value: Any, depth: int = DEPTH) -> Any:
    """A copy of what can change in a value; what can not is kept as it is."""
    if isinstance(value, dict):
        parts = [part for item in value.items() for part in item]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        return value.shape, hash(value.tobytes())
    elif isinstance(value, _KEPT) or not hasattr(value, "__dict__"):
        return _Same(value)
    else:
        fields = [(k, v) for k, v in vars(value).items() if not _lazy(value, k)]
        parts = [value.__class__, *(part for field in fields for part in field)]
    return [_snapshot(part, depth - 1) if depth else _Same(part) for part in parts]


def _lazy(value: Any, name: str) -> bool:
    """Whether an attribute is computed once and kept, which is no change."""
    return isinstance(getattr(type(value), name, None), functools.cached_property)
