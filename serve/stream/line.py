"""What the two kinds of streams share: some programs of a bundle, and the keys of a line."""

from __future__ import annotations

from serve import errors
from serve.body.lists import shown
from serve.errors import RequestError
from serve.types import show

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.types import Type

MOST = 65_536  # steps for one line, and lines in one stream


class Part:
    """Some programs of a bundle, of one type, as Batching takes them."""

    __slots__ = ("batch", "input", "output", "padded", "programs", "sizes", "text")

    def __init__(self, bundle: Any, input: Type, output: Type, programs: Any) -> None:
        self.batch, self.sizes = bundle.batch, bundle.sizes
        self.padded, self.text = bundle.padded, bundle.text
        self.input, self.output, self.programs = input, output, programs


def expect(line: Any, keys: dict[str, Type], more: dict[str, Type] | None = None) -> None:
    """Refuse what is not an object with some of the keys, and perhaps some of `more`, and no other.

    Raises:
        RequestError: it is not.
    """
    known = keys | (more or {})
    good = type(line) is dict and set(line) <= set(known) and bool(set(line) & set(keys))
    if not good:
        wanted = show({"dict": known})
        raise RequestError(errors.WRONG_LINE.format(wanted=wanted, found=shown(line)))
