"""Is a shared library whole? To map one that was cut short ends the process with a signal.

Source: the tables of the ELF specification, 64-bit (System V ABI, chapters 4 and 5).
"""

from __future__ import annotations

import os

from serve import errors
from serve.errors import PluginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Offsets and sizes, in bytes.
_HEADER, _MAGIC = 64, b"\x7fELF\x02\x01"  # 64-bit, little-endian
_SEGMENTS, _SECTIONS = (32, 8), (40, 8)  # where the two tables are
_SEGMENT_SIZE, _SEGMENT_COUNT = (54, 2), (56, 2)
_SECTION_SIZE, _SECTION_COUNT = (58, 2), (60, 2)
_OFFSET, _FILE_SIZE = (8, 8), (32, 8)  # in the entry of a segment

CUT_SHORT = "it should have at least {expected} bytes, found {found}: install it again"


def check(path: str) -> None:
    """Refuse a shared library that ends before its own tables say; others are left to the loader.

    Raises:
        PluginError: it was cut short.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            found = os.fstat(file.fileno()).st_size
            expected = _end(file.read(_HEADER), lambda at, size: os.pread(file.fileno(), size, at))
    except OSError as reason:
        raise _unloadable(path, reason.strerror or reason) from None
    if expected > found:
        raise _unloadable(path, CUT_SHORT.format(expected=expected, found=found))


def _end(header: bytes, read: Callable[[int, int], bytes]) -> int:
    """Where the last segment, or the last table, ends; 0 where this is no such library."""
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        return 0
    size, count = _number(header, _SEGMENT_SIZE), _number(header, _SEGMENT_COUNT)
    table = read(_number(header, _SEGMENTS), size * count)
    ends = [
        _number(header, _SEGMENTS) + size * count,
        _number(header, _SECTIONS)
        + _number(header, _SECTION_SIZE) * _number(header, _SECTION_COUNT),
    ]
    for start in range(0, len(table), size or 1):
        segment = table[start : start + size]
        ends.append(_number(segment, _OFFSET) + _number(segment, _FILE_SIZE))
    return max(ends)


def _number(data: bytes, place: tuple[int, int]) -> int:
    at, size = place
    return int.from_bytes(data[at : at + size], "little")


def _unloadable(path: str, reason: object) -> PluginError:
    return PluginError(errors.PLUGIN_UNLOADABLE.format(path=path, reason=reason))
