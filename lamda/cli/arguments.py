"""What commands share: their arguments, the store or bundle that REF is, and how they tell."""

import argparse
from collections.abc import Callable
from pathlib import Path
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
    if is_bundle(chosen.ref):
        import serve.bundle

        return serve.bundle.read(chosen.ref).manifest
    return store_of(chosen).record(chosen.ref)


def is_bundle(ref: str) -> bool:
    return (Path(ref) / "manifest.json").exists()


def store_of(chosen: argparse.Namespace) -> Any:
    from lamda.store import Store

    return Store.open(chosen.store)


def tell(chosen: argparse.Namespace, value: Any, lines: list[str]) -> None:
    """Print JSON, or lines for people."""
    import json

    print(json.dumps(value, indent=2) if chosen.json else "\n".join(lines))
