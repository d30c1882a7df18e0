"""An upload: one blob on its way to a registry, in chunks, taken up again where it stopped.

``POST`` begins it, ``PATCH`` sends a chunk, ``PUT`` sends the last and names the digest, ``GET``
asks how far it came (https://github.com/opencontainers/distribution-spec, section Push).
"""

import re
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from lamda.store.remote.connection import TRIES
from lamda.store.remote.pieces import Pieces
from lamda.store.remote.uploads import Uploads
from lamda.store.remote.wire import Wire

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CHUNK = 8 << 20
_PAUSE = 0.2
_NO_MOUNT = (400, 401, 403, 404, 405)
"""What a registry says where another repository is not to be looked into."""
_BYTES = {"Content-Type": "application/octet-stream"}


class Upload:
    """``Upload(...).run()``; ``holder`` is another repository that may have the blob already."""

    def __init__(
        self, wire: Wire, known: Uploads, digest: str, chunks: Pieces, holder: str | None = None
    ) -> None:
        self._wire = wire
        self._known = known
        self._digest = digest
        self._chunks = chunks
        self._holder = holder
        self._base = wire.location.base
        self._url: str | None = known.unfinished(digest)
        self._lost = self._resumed = self._url is not None
        self._offset = 0
        self._done = False

    def run(self) -> None:
        """Send the blob. Raises StoreError, and ConnectionError where it breaks too often."""
        failures, furthest = 0, 0
        while not self._done:
            try:
                self._step()
                if self._offset > furthest:  # one that begins again and again comes to an end
                    failures, furthest = 0, self._offset
            except ConnectionError:
                failures += 1
                if failures > TRIES:
                    raise
                self._lost = self._resumed = True
                time.sleep(_PAUSE * failures)
        self._known.ended(self._digest)

    def _step(self) -> None:
        if self._url is None:
            self._begin()
        elif self._lost:
            self._stand(self._url)
        elif len(self._chunks) - self._offset > CHUNK:
            self._send(self._url)
        else:
            self._finish(self._url)

    def _begin(self) -> None:
        if self._resumed and self._is_there():  # the answer to the last request was lost
            self._done = True
            return
        url = f"{self._base}/blobs/uploads/"
        wanted = (201, 202)
        if self._holder is not None:
            url += f"?mount={self._digest}&from={quote(self._holder, safe='/')}"
            wanted = (201, 202, *_NO_MOUNT)
        answer = self._wire.ask("POST", url, wanted, {"Content-Length": "0"})
        self._wire.end(answer)
        if answer.status in _NO_MOUNT:
            self._holder = None
            return
        self._offset, self._lost = 0, False
        self._done = answer.status == 201
        if not self._done:
            self._continue(answer)

    def _is_there(self) -> bool:
        answer = self._wire.ask("HEAD", f"{self._base}/blobs/{self._digest}", (200, 404))
        self._wire.end(answer)
        return answer.status == 200

    def _stand(self, url: str) -> None:
        """Ask how far it came; begin again where the registry knows nothing of it."""
        answer = self._wire.ask("GET", url, (200, 204, 400, 404, 416))
        self._wire.end(answer)
        came = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", answer.headers.get("Range", ""))
        if answer.status >= 400 or came is None or int(came[1]) >= len(self._chunks):
            self._url = None
            return
        # 0-0 is what registries say of nothing, too: then the first byte is sent again.
        self._offset = int(came[1]) + 1 if int(came[1]) else 0
        self._lost = False
        self._continue(answer)

    def _send(self, url: str) -> None:
        end = self._offset + CHUNK
        place = {"Content-Range": f"{self._offset}-{end - 1}"}
        answer = self._put("PATCH", url, end, (200, 202, 204, 404, 416), place)
        if answer.status >= 400:
            raise ConnectionError(f"a chunk was answered {answer.status}")
        self._offset = end
        self._continue(answer)

    def _finish(self, url: str) -> None:
        end = len(self._chunks)
        target = f"{url}{'&' if '?' in url else '?'}digest={self._digest}"
        again = (400,) if self._resumed else ()
        answer = self._put("PUT", target, end, (201, 204, 404, 416, *again))
        if answer.status == 400:  # what had come was not what was sent: all of it once more
            self._url, self._resumed = None, False
        elif answer.status >= 400:
            raise ConnectionError(f"the end was answered {answer.status}")
        self._done = answer.status < 400

    def _put(
        self,
        method: str,
        url: str,
        end: int,
        wanted: tuple[int, ...],
        headers: dict[str, str] | None = None,
    ) -> "BaseHTTPResponse":
        """Send the bytes until ``end``."""
        start = self._offset
        head = {**_BYTES, "Content-Length": str(end - start), **(headers or {})}
        answer = self._wire.ask(
            method, url, wanted, head, lambda: self._chunks.after(start, end), again=False
        )
        self._wire.end(answer)
        return answer

    def _continue(self, answer: "BaseHTTPResponse") -> None:
        """Where it goes on is remembered, for this push and for a later one."""
        target = answer.headers.get("Location", "")
        url = self._wire.joined(f"{self._wire.location.origin}/", target)
        if not target or (self._wire.location.secure and not url.startswith("https://")):
            raise self._wire.wrong("it does not say safely where an upload goes on")
        self._url = url
        self._known.begun(self._digest, url)
