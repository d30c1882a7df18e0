"""A bundle on AWS Lambda: `python -m serve.aws DIR`, or the function `serve.aws.handler`.

An event is the request itself, answered by the answer; or an HTTP request, answered as serve.http
answers; or records of a queue, a stream or a bucket. docs/platforms/aws.md tells what each gets.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html
"""

from __future__ import annotations

from serve.aws.events import invoke, make_handler
from serve.aws.loop import run

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    handler: Callable[[Any, Any], Any]

__all__ = ["handler", "invoke", "make_handler", "run"]


def __getattr__(name: str) -> Callable[[Any, Any], Any]:
    """`serve.aws.handler`, loaded from LAMDA_BUNDLE when Lambda first asks for it."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve.aws.start import load

    return globals().setdefault("handler", make_handler(load()))
