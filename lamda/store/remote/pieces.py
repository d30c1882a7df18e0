"""Pieces: the bytes of a blob on their way, from anywhere on, told of as they are taken."""

from collections.abc import Callable, Iterator

PIECE = 1 << 20


class Pieces:
    """The bytes of a blob in pieces.

    >>> b"".join(Pieces(memoryview(b"abcdef")).after(4))
    b'ef'
    """

    def __init__(self, data: memoryview, tell: Callable[[int], None] = lambda _: None) -> None:
        self._data = data
        self._tell = tell

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[memoryview]:
        return self.after(0)

    def after(self, offset: int, end: int | None = None) -> Iterator[memoryview]:
        """The pieces from an offset to an end."""
        end = len(self) if end is None else min(end, len(self))
        for at in range(offset, end, PIECE):
            piece = self._data[at : min(at + PIECE, end)]
            yield piece
            self._tell(len(piece))
