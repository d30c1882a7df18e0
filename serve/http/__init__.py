"""HTTP: `uvicorn serve.http:app` with LAMDA_BUNDLE=DIR, or `respond` for a server of another kind.

`respond(handler, method, path, headers, body)` of serve.http.routes is the answer to a request;
`app` is an ASGI application, of serve.http.asgi. Each is imported when it is first asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from serve.http.asgi import App
    from serve.http.routes import respond as respond

    app: App


def __getattr__(name: str) -> Any:
    """`app` is made, and the bundle loaded, when a server first asks for it."""
    if name == "respond":
        from serve.http.routes import respond as found
    elif name == "app":
        from serve.http.asgi import make_app
        from serve.start import load

        found = make_app(load("http"))
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, found)
