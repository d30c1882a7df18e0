"""A composition of parts, each of them a deployment with replicas of its own."""

from __future__ import annotations

import json

from serve.body.forms import JSON, MSGPACK, NPY, liked
from serve.ray.model import over_http, plain
from serve.trace import passed_on

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.http.routes import Response

REQUEST = ("content-type", "content-encoding")  # headers that say how a body is to be read
WILD = ("*/*", "*", "application/*")
PATHS = ("/", "/healthz", "/readyz")
NO_PATH = "no such path: expected POST /, GET / or GET /healthz, as this is a composition of parts"


class Composition:
    """What takes requests to a composition, and hands them from part to part."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts
        self._max_bytes = 0  # asked of the first part, when it is there

    async def __call__(self, request: Any) -> Any:
        """Answer a request of HTTP."""
        if not self._max_bytes:
            self._max_bytes = await self._parts[0].max_bytes.remote()
        return await over_http(request, self._max_bytes, self.respond)

    async def respond(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """The answer of the last part; the first refusal, where there is one."""
        if path not in PATHS:
            return plain(404, {"error": NO_PATH})
        if method != "POST" or path != "/":
            return await self._describe(method, path)
        addresses: list[str] = []
        wanted = _wanted(headers.get("accept"), headers.get("content-type"))
        named = passed_on(headers)
        asked = {k: v for k, v in headers.items() if k in REQUEST}
        found: dict[str, str] = {}
        for i, part in enumerate(self._parts):
            accept = wanted if i == len(self._parts) - 1 else MSGPACK  # which loses nothing
            sent = {**asked, **named, "accept": accept}
            status, found, body = await part.respond.remote("POST", "/", sent, body)
            if status != 200:
                return status, found, body
            addresses.append(found["lamda-address"])
            asked = {"content-type": MSGPACK}
        return 200, {**found, "lamda-address": ",".join(addresses)}, body

    async def _describe(self, method: str, path: str) -> Response:
        """What every part says: whether it is there, or what it is."""
        said = [await part.respond.remote(method, path, {}, b"") for part in self._parts]
        failed = next((one for one in said if one[0] != 200), None)
        if failed is not None or path != "/" or method == "HEAD":
            return failed or said[0]
        return plain(200, {"parts": [json.loads(body) for _, _, body in said]})


def _wanted(accept: str | None, content_type: str | None) -> str:
    """What to accept of the last part: where any form will do, that of the first request."""
    form = (content_type or JSON).partition(";")[0].strip().lower()
    likes = liked(accept or "*/*")
    wild = max(likes.pop(each, 0.0) for each in WILD)
    forms = (*{NPY: (NPY, MSGPACK), MSGPACK: (MSGPACK,)}.get(form, ()), JSON)
    for i, each in enumerate(forms if wild else ()):
        likes.setdefault(each, wild * (1 - i / 10))
    return ", ".join(f"{each};q={quality:.3f}" for each, quality in likes.items())
