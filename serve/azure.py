"""A bundle on Azure Functions: in function_app.py, `from serve.azure import app`.

`app` answers HTTP; `make_app(handler, blobs=..., queues=...)` answers blobs and messages of a
queue too. The names of parameters are those that the bindings of Azure have.

Source: https://learn.microsoft.com/azure/azure-functions/functions-reference-python
"""

from __future__ import annotations

from serve.body.forms import JSON, MSGPACK, NPY, TEXT
from serve.http.routes import respond
from serve.trace import identify

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.handler import Handler

STORAGE = "AzureWebJobsStorage"  # the setting with the connection that every function app has
FORMS = {"npy": NPY, "msgpack": MSGPACK, "txt": TEXT}
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


def __getattr__(name: str) -> Any:
    """`serve.azure.app`, of LAMDA_BUNDLE, when Azure first asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from serve.start import load

    return globals().setdefault("app", make_app(load("azure")))


def make_app(
    handler: Handler,
    blobs: tuple[str, str] | None = None,
    queues: tuple[str, str] | None = None,
    connection: str = STORAGE,
    auth: str = "FUNCTION",
) -> Any:
    """The FunctionApp of a handler.

    `blobs` are the paths of requests and of answers, `("requests/{name}", "answers/{name}")`, and
    `queues` the names of two queues; `connection` is the setting that says where they are. `auth`
    is who may ask over HTTP: FUNCTION, who has a key; ADMIN; or ANONYMOUS, everybody.
    """
    import azure.functions as func  # pyright: ignore[reportMissingImports]

    app = func.FunctionApp(http_auth_level=func.AuthLevel[auth])

    def http(req: func.HttpRequest) -> func.HttpResponse:
        return _http(handler, req)

    def blob(request: func.InputStream, answer: func.Out[bytes]) -> None:
        answer.set(handler(request.read(), FORMS.get(_extension(request.name), JSON)))

    def queue(request: func.QueueMessage, answer: func.Out[str]) -> None:
        answer.set(handler(request.get_body()).decode())

    app.route(route="{*path}", methods=METHODS)(http)
    if blobs is not None:
        source, target = blobs
        given = app.blob_output(arg_name="answer", path=target, connection=connection)(blob)
        app.blob_trigger(arg_name="request", path=source, connection=connection)(given)
    if queues is not None:
        source, target = queues
        given = app.queue_output(arg_name="answer", queue_name=target, connection=connection)(queue)
        app.queue_trigger(arg_name="request", queue_name=source, connection=connection)(given)
    return app


def _http(handler: Handler, request: Any) -> Any:
    import azure.functions as func  # pyright: ignore[reportMissingImports]

    headers = {name.lower(): value for name, value in request.headers.items()}
    identify(headers)
    path = "/" + (request.route_params.get("path") or "")
    status, found, content = respond(handler, request.method, path, headers, request.get_body())
    return func.HttpResponse(content, status_code=status, headers=found)


def _extension(name: str | None) -> str:
    return (name or "").rpartition(".")[2].lower()
