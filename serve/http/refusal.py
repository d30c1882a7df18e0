"""The answer to a request that is refused before its body has been read."""

from __future__ import annotations

from serve.http.routes import answered, failure
from serve.trace import passed_on

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

    from serve.errors import RequestError
    from serve.handler import Handler
    from serve.http.routes import Response


def refused(
    handler: Handler,
    method: str,
    path: str,
    headers: Mapping[str, str],
    error: RequestError,
    seconds: float = 0.0,
) -> Response:
    """What the error says, named, counted and logged as every other answer is."""
    response = failure(handler, error)
    response[1].update(passed_on(headers))
    return answered(handler, method, path, headers, 0, response, seconds)
