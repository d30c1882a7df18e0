"""Progress: a bar with loss and rate, where one is wanted and tqdm is there to draw it."""

import sys
from collections.abc import Iterable
from typing import Any


class Bar:
    """A bar of ``total`` steps, or of as many as there are."""

    def __init__(self, what: str, total: int | None, shown: bool, start: int = 0) -> None:
        self._bar: Any = None
        if shown:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(
                desc=what, total=total, initial=start, leave=False, mininterval=0.5, unit="step"
            )

    def step(self, count: int = 1, **said: str) -> None:
        """So many steps are done."""
        if self._bar is not None:
            if said:
                self._bar.set_postfix(said, refresh=False)
            self._bar.update(count)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def each(items: Iterable[Any], what: str, shown: bool, total: int) -> Iterable[Any]:
    """The items, with a bar."""
    with Bar(what, total, shown) as bar:
        for item in items:
            yield item
            bar.step()


def say(text: str, shown: bool) -> None:
    """A line for people."""
    if shown:
        print(f"fit: {text}", file=sys.stderr)
