"""A bundle on Amazon SageMaker: `python -m serve.sagemaker`, or `uvicorn serve.sagemaker:app`.

`GET /ping` says that its programs are loaded; `POST /invocations` answers a request, or a stream
where the request is lines of JSON. The answer names the model among the custom attributes, the one
header that SageMaker hands on to the caller. The bundle is in /opt/ml/model unless a directory is
named.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import os
import sys

from serve.http.asgi import make_app

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.handler import Handler
    from serve.http.asgi import App, Receive, Send

MODEL = "/opt/ml/model"  # where SageMaker unpacks model.tar.gz
PATHS = {"/ping": "/readyz", "/invocations": "/"}
LINES = b"application/x-ndjson"
ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
LONGEST = 1024  # characters of custom attributes


def __getattr__(name: str) -> App:
    """`serve.sagemaker.app`, of LAMDA_BUNDLE or /opt/ml/model, when a server first asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve.start import load

    handler = load("sagemaker", os.environ.get("LAMDA_BUNDLE") or MODEL)
    return globals().setdefault("app", with_paths(handler))


def with_paths(handler: Handler) -> App:
    """The ASGI application of a handler, by the paths of SageMaker beside its own."""
    plain = make_app(handler)

    async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in PATHS:
            return await plain(scope, receive, send)
        headers = dict(scope["headers"])
        path = PATHS[scope["path"]]
        lines = headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == LINES
        told = (ATTRIBUTES, _attributes(handler.bundle.address, headers.get(ATTRIBUTES, b"")))

        async def tell(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], told]}
            await send(message)

        path = "/stream" if path == "/" and lines else path
        return await plain({**scope, "path": path, "root_path": ""}, receive, tell)

    return app


def _attributes(address: str, given: bytes) -> bytes:
    """The address of the model, and what the caller said, where there is room for it."""
    told = f"lamda-address={address}".encode()
    both = told + b"; " + given
    return both if given and given.isascii() and len(both) <= LONGEST else told


if __name__ == "__main__":
    from serve.container import run

    # SageMaker starts an image with the argument serve.
    directory = [word for word in sys.argv[1:] if word != "serve"] or [MODEL]
    sys.exit(run("sagemaker", with_paths, directory, "SAGEMAKER_BIND_TO_PORT"))
