"""The tensors of a bundle on a device: maps of the packs, handed over in place."""

from __future__ import annotations

import ctypes
import os

from serve.runtime import digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from serve.bundle import Bundle
    from serve.runtime.client import Client

COPIED = (
    "{path} copied {size} bytes of weights that it was to share with their files, "
    "those of the tensors {indices}: every process has its own copy."
)

# mmap of the C library: the module's keeps each file open, and does not say where a read-only map
# is. PROT_READ and MAP_PRIVATE have these values on every system that has a plugin.
_READ, _PRIVATE = 1, 2
_FAILED = ctypes.c_void_p(-1).value
_NOTHING = ctypes.create_string_buffer(64)  # where the tensors of an empty pack are
_libc = ctypes.CDLL(None, use_errno=True)
_mmap, _munmap = _libc.mmap, _libc.munmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class Weights:
    """`buffers` are the tensors in their order, each an alias of its pack on a CPU.

    `notes` names those that the plugin copied all the same: every process has its own copy.
    """

    __slots__ = ("_client", "_packs", "buffers", "notes")

    def __init__(self, client: Client, bundle: Bundle) -> None:
        self._client = client
        self._packs: list[Pack] = []
        self.buffers: list[int] = []
        self.notes: list[str] = []
        try:
            self._open(bundle)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the buffers, then of the maps under them."""
        while self.buffers:
            self._client.free(self.buffers.pop())
        while self._packs:
            self._packs.pop().close()

    def _open(self, bundle: Bundle) -> None:
        for pack in bundle.packs:
            self._packs.append(Pack(digests.checked(bundle, pack)))
        copied = []
        for index, tensor in enumerate(bundle.tensors):
            address = self._packs[tensor["pack"]].address + tensor["offset"]
            buffer = self._client.place(address, tensor["dtype"], tensor["shape"])
            self.buffers.append(buffer)
            if tensor["size"] and self._copied(buffer, address):
                copied.append(index)
        if copied:
            indices = ", ".join(map(str, copied))
            size = sum(bundle.tensors[index]["size"] for index in copied)
            path = self._client.api.path
            self.notes.append(COPIED.format(path=path, size=size, indices=indices))

    def _copied(self, buffer: int, address: int) -> bool:
        """Was memory copied that the device could have shared?"""
        return self._client.platform == "cpu" and self._client.address(buffer) != address


class Pack:
    """A file mapped into memory that can only be read, and where."""

    __slots__ = ("_size", "address")

    def __init__(self, path: str) -> None:
        self.address = ctypes.addressof(_NOTHING)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._size = os.fstat(descriptor).st_size
            if self._size:
                found = _mmap(None, self._size, _READ, _PRIVATE, descriptor, 0)
                if found is None or found == _FAILED:
                    error = ctypes.get_errno()
                    raise OSError(error, os.strerror(error), path)
                self.address = found
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Unmap; what is under a buffer must stay until it is let go of."""
        if self._size:
            _munmap(self.address, self._size)
            self._size = 0
