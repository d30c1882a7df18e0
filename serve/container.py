"""A bundle in a container whose platform says by $PORT where to listen."""

from __future__ import annotations

import os
import signal
import sys

from serve.errors import ServeError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from serve.handler import Handler
    from serve.http.asgi import App

PORT = "8080"


def run(
    front: str, make: Callable[[Handler], App], arguments: list[str], variable: str = "PORT"
) -> int:
    """Serve the application of the bundle in a directory until SIGTERM; the exit code."""
    # The first process of a container is not ended by a signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from serve.http import drain
    from serve.start import load

    try:
        later, port = drain.seconds(), _port(variable)
        handler = load(front, *arguments[:1])
        drain.run(handler, make(handler), later, host="0.0.0.0", port=port)
    except (ServeError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _port(variable: str) -> int:
    text = os.environ.get(variable) or PORT
    if not text.isdecimal() or int(text) > 65535:
        raise ServeError(f"{variable} is the number of a port, got {text!r}")
    return int(text)
