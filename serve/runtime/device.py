"""Calls on a device whose memory is not this process's: what goes in and out is copied."""

from __future__ import annotations

import ctypes

from serve.runtime import api as pjrt
from serve.runtime.frame import FIRST, WORD, Frame, function, waiting, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from serve.runtime.client import Client
    from serve.runtime.frame import Output
    from serve.runtime.program import Program

# Fields in words.
DATA, DONE, BUFFER = 3, 13, 14  # of Client_BufferFromHostBuffer
COPIED = 6  # the event of Buffer_ToHostBuffer


class DeviceFrame(Frame):
    """A frame on a device with memory of its own: inputs are copied to it, outputs from it."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        client = program.client
        self._place = function(client, "Client_BufferFromHostBuffer", waiting)
        self._hosts = [_host(client, *spec) for spec in program.inputs]
        self._fetch = function(client, "Buffer_ToHostBuffer", waiting)
        self._copies = [_copy(type()) for _, _, type in self._types]

    def __call__(self, inputs: Sequence[bytes]) -> list[Output]:
        """Run once."""
        for at, (host, data) in enumerate(zip(self._hosts, inputs, strict=True), self._first):
            host.data[0] = data
            error = self._place(host)
            if error:
                self._client.api.fail("Client_BufferFromHostBuffer", error)
            self._arguments[at] = host[BUFFER]
        self._run()
        rows = zip(self._types, self._copies, strict=True)
        taken = [
            (dtype, shape, self._take(at, copy))
            for at, ((dtype, shape, _), copy) in enumerate(rows)
        ]
        self.close()  # of this call: what a frame is made of stays
        return taken

    def close(self) -> None:
        """Let go of everything, once a call that was cut short has ended."""
        super().close()
        for copy in self._copies:
            if copy[COPIED]:
                self._copied(copy)
        for host in self._hosts:
            host.data[0] = None
            self._destroy(self._destroy_event, host, DONE)
            self._destroy(self._destroy_buffer, host, BUFFER)

    def _take(self, at: int, copy: Any) -> bytes:
        """The bytes of an output."""
        if copy.memory:
            copy[FIRST] = self._outputs[at]
            error = self._fetch(copy) or self._copied(copy)
            if error:
                self._client.api.fail("Buffer_ToHostBuffer", error)
        return copy.memory.raw

    def _copied(self, copy: Any) -> int | None:
        """Wait until the device has written; its error."""
        self._event[FIRST] = copy[COPIED]
        copy[COPIED] = 0
        return self._finish()


def _host(client: Client, dtype: str, shape: tuple[int, ...]) -> Any:
    """The struct that hands over one input, as words; `data` of it takes bytes."""
    host = pjrt.struct("Client_BufferFromHostBuffer")
    dims = (ctypes.c_int64 * len(shape))(*shape)
    host.client, host.device = client.handle, client.device
    host.type = pjrt.TYPES[dtype]
    host.dims, host.num_dims = ctypes.addressof(dims), len(shape)
    host.host_buffer_semantics = pjrt.COPY_DURING_CALL
    made: Any = words(host)
    made.dims, made.data = dims, (ctypes.c_char_p * 1).from_buffer(host, DATA * WORD)
    return made


def _copy(memory: ctypes.Array[ctypes.c_char]) -> Any:
    """The struct that fetches one output, as words, with the `memory` that it is written to."""
    copy = pjrt.struct("Buffer_ToHostBuffer")
    copy.dst, copy.dst_size = ctypes.addressof(memory), ctypes.sizeof(memory)
    made: Any = words(copy)
    made.memory = memory
    return made
