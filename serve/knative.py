"""A bundle on Knative: HTTP and CloudEvents, by any of three.

- `python -m serve.knative DIR`, a container that listens at $PORT;
- `uvicorn serve.knative:app`, or any ASGI server, with LAMDA_BUNDLE=DIR;
- `from serve.knative import new`, a function for the tool func.

What is no event is answered as `serve.http` answers it. OpenFaaS needs no more than that.

Source: https://knative.dev/docs/serving/ and https://github.com/knative-extensions/func-python
"""

from __future__ import annotations

import sys

from serve import cloudevents
from serve.http.asgi import make_app

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.handler import Handler
    from serve.http.asgi import App, Receive, Send


def __getattr__(name: str) -> App:
    """`serve.knative.app`, of LAMDA_BUNDLE, made when a server first asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve.start import load

    return globals().setdefault("app", with_events(load("knative")))


def with_events(handler: Handler) -> App:
    """The ASGI application of a handler that answers events as well as requests."""
    return make_app(handler, cloudevents.respond)


class Function:
    """A function of func-python: what it calls when the process starts, and for each request."""

    def __init__(self) -> None:
        self._app: App | None = None

    def start(self, environment: Mapping[str, str]) -> None:
        """Load the bundle."""
        from serve.start import load

        self._app = with_events(load("knative", environment.get("LAMDA_BUNDLE")))

    def ready(self) -> bool:
        """Is the bundle loaded?"""
        return self._app is not None

    async def handle(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        assert self._app is not None, "func-python starts a function before it asks it"
        await self._app(scope, receive, send)


def new() -> Function:
    """What func-python asks for by this name."""
    return Function()


if __name__ == "__main__":
    from serve.container import run

    sys.exit(run("knative", with_events, sys.argv[1:]))
