"""Types as the manifest writes them: a tree of tuples and dicts over arrays."""

from __future__ import annotations

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Type = dict[str, Any]


class Leaf:
    """One array of a type: where it is, its dtype and its dimensions."""

    __slots__ = ("dims", "dtype", "path")

    def __init__(self, path: tuple[str | int, ...], dtype: str, dims: tuple[int | str, ...]):
        self.path = path
        self.dtype = dtype
        self.dims = dims

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.dims))}]"

    @property
    def where(self) -> str:
        """`input["ids"]`, as messages name it."""
        return place(self.path)


def leaves(of: Type, path: tuple[str | int, ...] = ()) -> Iterator[Leaf]:
    """The leaves in order: tuples left to right, dicts by sorted key."""
    if "array" in of:
        dtype, dims = of["array"]
        yield Leaf(path, dtype, tuple(dims))
    else:
        for key, child in children(of):
            yield from leaves(child, (*path, key))


def children(of: Type) -> list[tuple[str | int, Type]]:
    """The keys and types directly under a node, in leaf order."""
    if "tuple" in of:
        return list(enumerate(of["tuple"]))
    return sorted(of["dict"].items())


def show(of: Type) -> str:
    """`{"ids": int32[b, t]}`: a type in one line."""
    if "array" in of:
        return str(next(leaves(of)))
    if "tuple" in of:
        return "[" + ", ".join(show(child) for _, child in children(of)) + "]"
    return "{" + ", ".join(f'"{key}": {show(child)}' for key, child in children(of)) + "}"


def place(path: tuple[str | int, ...]) -> str:
    """`("ids", 3)` is `input["ids"][3]`."""
    return "input" + "".join(f"[{k}]" if isinstance(k, int) else f'["{k}"]' for k in path)
