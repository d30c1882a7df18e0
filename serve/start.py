"""What every platform does once, before the first request: load the bundle and its programs."""

from __future__ import annotations

import os

from serve.errors import BundleError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from serve.handler import Handler


def load(front: str, directory: str | None = None) -> Handler:
    """The handler of a bundle, of LAMDA_BUNDLE where none is named, with every program loaded.

    `front` is the platform, for the log. Where a bundle has many programs and needs few,
    LAMDA_WARM=0 leaves each to its first request.

    Raises:
        BundleError: LAMDA_BUNDLE is not set; and as serve.load.
        PluginError: as serve.load.
    """
    directory = directory or os.environ.get("LAMDA_BUNDLE")
    if not directory:
        raise BundleError("LAMDA_BUNDLE is not set: expected the directory of a bundle")
    import serve
    from serve import log
    from serve.watch import warm

    handler = serve.load(directory)
    warm(handler)
    log.started(front, handler)
    return handler
