"""What commands share: their arguments, the store or bundle that REF is, and how they tell."""

import argparse
import os
from collections.abc import Callable
from typing import Any, TypeAlias

STORE = "lamda-store"

Command: TypeAlias = Callable[..., Any]
"""``command(name, run, help, example)`` makes the parser of a command."""


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def pair_of(text: str) -> tuple[str, str]:
    theirs, equals, ours = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected names like encoder=body, got {text!r}")
    return theirs, ours


def numbers_of(text: str) -> list[int]:
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 1,8,32, got {text!r}") from None


def size_of(text: str) -> tuple[str, list[int]]:
    name, equals, numbers = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"expected a size like t=32,128, got {text!r}")
    return name, numbers_of(numbers)


def record_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """What is known of REF without loading it: its record, or the manifest of a bundle."""
    if is_bundle(chosen):
        import serve.bundle

        return serve.bundle.read(chosen.ref).manifest
    return store_of(chosen).record(chosen.ref)


def is_bundle(chosen: argparse.Namespace) -> bool:
    """Whether REF is the directory of a bundle, and no ref of the store."""
    from lamda.errors import MissingError
    from lamda.store.refs import is_name

    if not os.path.isfile(os.path.join(chosen.ref, "manifest.json")):
        return False
    if not is_name(chosen.ref):  # ./REF, whatever the store is
        return True
    try:
        return store_of(chosen).head(chosen.ref) is None
    except MissingError:
        return True


def store_of(chosen: argparse.Namespace) -> Any:
    from lamda.store import Store

    return quiet(chosen, Store.open(chosen.store))


def quiet(chosen: argparse.Namespace, store: Any) -> Any:
    """A store that shows no bars of its own where JSON is asked for."""
    if getattr(chosen, "json", False) and hasattr(store, "show"):
        store.show = False
    return store


def tell(chosen: argparse.Namespace, value: Any, lines: list[str]) -> None:
    """Print JSON, or lines for people."""
    import json

    print(json.dumps(value, indent=2) if chosen.json else plain("\n".join(lines)))


def plain(text: str) -> str:
    """Text that moves no cursor and sets no colour, whoever wrote the names in it.

    >>> plain("\\x1b[31mred\\nblue")
    '\\\\x1b[31mred\\nblue'
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
