"""Tags: all of a repository, which a registry lists in pages, each with a link to the next."""

import json
import re
from collections.abc import Iterator

from lamda.store.remote.wire import Wire

LARGEST = 4 << 20
"""Bytes of a manifest, or of a page: what every registry takes, and no more is read of one."""
_PAGE = 1000
_NEXT = re.compile(r"<([^>]*)>\s*;\s*rel=\"?next\"?")


class Tags:
    """Every tag of a repository, in the order of the registry. Iterating raises StoreError."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __iter__(self) -> Iterator[str]:
        url: str | None = f"{self._wire.location.base}/tags/list?n={_PAGE}"
        seen: set[str] = set()
        while url is not None:
            if url in seen or not self._wire.own(url):
                raise self._wire.wrong("it lists its tags in a circle, or at another host")
            seen.add(url)
            answer = self._wire.ask("GET", url, (200, 404))
            data = self._wire.read(answer, LARGEST)
            yield from self._page(data) if answer.status == 200 else ()
            link = _NEXT.search(answer.headers.get("Link", ""))
            url = None if link is None else self._wire.joined(url, link[1])

    def _page(self, data: bytes) -> list[str]:
        try:
            return [str(tag) for tag in json.loads(data)["tags"] or []]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._wire.wrong("it lists its tags in no form that is known") from None
