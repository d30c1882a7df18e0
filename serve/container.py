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
GRACE = 10  # seconds for what is under way when the container is told to stop


def run(
    front: str, make: Callable[[Handler], App], arguments: list[str], variable: str = "PORT"
) -> int:
    """Serve the application of the bundle in a directory until SIGTERM; the exit code."""
    # The first process of a container is not ended by a signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from serve.start import load

    try:
        import uvicorn
    except ImportError:
        from serve.http.server import UVICORN

        print(f"serve: {UVICORN}", file=sys.stderr)
        return 1
    try:
        app = make(load(front, *arguments[:1]))
    except (ServeError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    uvicorn.run(
        app, host="0.0.0.0", port=int(os.environ.get(variable) or PORT), log_level="warning",
        access_log=False, server_header=False, ws="none", lifespan="off",
        timeout_graceful_shutdown=GRACE,
    )  # fmt: skip
    return 0
