"""What a deployed process says of itself when it starts: one line on stderr."""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.handler import Handler


def started(front: str, handler: Handler, runtime: Mapping[str, Any] | None = None) -> None:
    """`serve: started {"front": "http", "name": ..., "way": ..., "why": ..., "notes": [...]}`.

    `front` is what the requests come by: http, lambda or fork. The way is the one that the engine
    took, as `GET /` tells it. After its first two words the line is JSON.
    """
    told = runtime or handler.describe()["runtime"]
    said = {"front": front, "name": handler.bundle.name, "address": handler.bundle.address, **told}
    print(f"serve: started {json.dumps(said)}", file=sys.stderr, flush=True)
