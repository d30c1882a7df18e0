"""uvicorn until it is told to stop: then it is not ready, goes on for a while, and ends.

On SIGTERM GET /readyz says no at once. Requests are taken for LAMDA_DRAIN seconds more, so that
whoever sends them can see that; then no connection more, and what is under way is answered.
"""

from __future__ import annotations

import signal
import threading
from importlib.util import find_spec

from serve import settings
from serve.errors import ServeError
from serve.watch import STOPPING

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from serve.handler import Handler
    from serve.http.asgi import App

UVICORN = 'HTTP takes the package uvicorn: install it, or "lamda[http]"'
GRACE = 10  # seconds for what is under way when the server is told to stop


def seconds() -> float:
    """How long to go on after SIGTERM.

    Raises:
        ServeError: uvicorn is not installed, or LAMDA_DRAIN is no number.
    """
    if find_spec("uvicorn") is None:
        raise ServeError(UVICORN)
    return settings.seconds(settings.DRAIN, 0)


def run(
    handler: Handler,
    app: App,
    later: float,
    sockets: list[socket.socket] | None = None,
    started: Callable[[], None] | None = None,
    **more: Any,
) -> None:
    """Serve an application of a handler; `started` is called when it listens.

    It goes on for `later` seconds when it is told to stop. `more` is what uvicorn is told too.

    Raises:
        ServeError: uvicorn can not be imported.
    """
    try:
        import uvicorn
    except ImportError:
        raise ServeError(UVICORN) from None

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if started:
                started()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            first = handler.watch.state != STOPPING
            handler.watch.state = STOPPING
            if first and later and sig == signal.SIGTERM:
                end = threading.Timer(later, super().handle_exit, (sig, frame))
                end.daemon = True  # a second signal need not wait for it
                end.start()
            else:
                super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=GRACE,
        **more,
    )
    Server(config).run(sockets)
