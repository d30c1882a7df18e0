"""`main(args)`: an action, which a trigger, a sequence or a gateway of HTTP invokes.

Source: https://github.com/apache/openwhisk/blob/master/docs/actions.md
"""

from __future__ import annotations

import json

from serve.body.lists import shown
from serve.errors import RequestError
from serve.http.routes import respond
from serve.openwhisk.web import LONG, MOST, as_json, named, web

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from serve.handler import Handler

    Object = dict[str, Any]

EXPECTED = 'expected {{"value": {example}}}, an object with a request in it, got {found}'


def make_main(handler: Handler) -> Callable[[Object], Object]:
    """The action `main(args)` of a handler. It never raises: what is wrong is `{"error": ...}`."""

    def main(args: Object) -> Object:
        if "__ow_method" in args:
            return web(handler, args)
        return _result(handler, args)

    return main


def _result(handler: Handler, args: Object) -> Object:
    """The answer to a direct invocation, or to a trigger."""
    messages = args.get("messages")
    if "value" not in args and isinstance(messages, list):
        each = (message if isinstance(message, dict) else {} for message in messages)
        found = {"messages": [_one(handler, message) for message in each]}
    else:
        found = _one(handler, args)
    size = len(json.dumps(found, separators=(",", ":")))
    if size > MOST:
        return {"error": LONG.format(size=size)}
    return found


def _one(handler: Handler, args: Object) -> Object:
    if "value" not in args:
        example = json.dumps(handler.bundle.example)
        return {"error": EXPECTED.format(example=example, found=shown(args))}
    try:
        body = as_json(args["value"])
    except RequestError as error:
        return {"error": str(error)}
    status, _, content = respond(handler, "POST", "/", named(), body)
    found = json.loads(content)
    return {"value": found} if status == 200 else found
