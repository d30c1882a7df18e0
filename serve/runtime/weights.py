"""The tensors of a bundle on a device: maps of the packs, handed over in place."""

from __future__ import annotations

import ctypes
import mmap
import os

from serve.runtime import digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from serve.bundle import Bundle
    from serve.runtime.client import Client

_NOTHING = ctypes.create_string_buffer(64)  # where the tensors of an empty pack are


class Weights:
    """`buffers` are the tensors in their order, each an alias of its pack on a CPU."""

    __slots__ = ("_client", "_packs", "buffers")

    def __init__(self, client: Client, bundle: Bundle) -> None:
        self._client = client
        self._packs = [Pack(digests.checked(bundle, pack)) for pack in bundle.packs]
        self.buffers: list[int] = []
        for tensor in bundle.tensors:
            address = self._packs[tensor["pack"]].address + tensor["offset"]
            self.buffers.append(client.place(address, tensor["dtype"], tensor["shape"]))

    def close(self) -> None:
        """Let go of the buffers, then of the maps under them."""
        for buffer in self.buffers:
            self._client.free(buffer)
        for pack in self._packs:
            pack.close()
        self.buffers, self._packs = [], []


class Pack:
    """A file mapped into memory, and where.

    The map is private and nominally writable, since ctypes takes the address of nothing else;
    nobody writes, so no page of it is ever copied.
    """

    __slots__ = ("_anchor", "_map", "address")

    def __init__(self, path: str) -> None:
        self._map = self._anchor = None
        self.address = ctypes.addressof(_NOTHING)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size:
                both = mmap.PROT_READ | mmap.PROT_WRITE
                self._map = mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=both)
                self._anchor = ctypes.c_char.from_buffer(self._map)
                self.address = ctypes.addressof(self._anchor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Unmap."""
        self._anchor = None
        if self._map is not None:
            self._map.close()
