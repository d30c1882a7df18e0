"""A bundle on Apache OpenWhisk: the action `main(args)`, or `python -m serve.openwhisk DIR`.

The arguments of an action and its result are JSON objects: `{"value": [[1, 2]]}` is a request and
`{"value": [[2, 4]]}` its answer, so that actions can be put in a sequence. A web action that was
made with `--web raw` answers HTTP as `serve.http` does. docs/platforms/openwhisk.md tells the rest.
"""

from __future__ import annotations

from serve.openwhisk.action import make_main
from serve.openwhisk.sequence import sequence

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    main: Callable[[dict[str, Any]], dict[str, Any]]

__all__ = ["main", "make_main", "sequence"]


def __getattr__(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """`serve.openwhisk.main`, of LAMDA_BUNDLE, when OpenWhisk first asks for it."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve.start import load

    return globals().setdefault("main", make_main(load("openwhisk")))
