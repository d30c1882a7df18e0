"""One loaded program: a call from bytes to bytes that allocates almost nothing."""

from __future__ import annotations

import ctypes

from serve.manifest import nbytes
from serve.runtime import api as pjrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from serve.runtime.client import Client

Spec = tuple[str, tuple[int, ...]]


class Program:
    """`program(inputs)` is the outputs of a loaded executable on its weights and the inputs."""

    __slots__ = ("_frames", "_loaded", "client", "inputs", "outputs", "weights")

    def __init__(
        self, client: Client, loaded: int, weights: Sequence[int], inputs: Sequence[Spec]
    ) -> None:
        self.client = client
        self.weights = weights
        self.inputs = inputs
        self.outputs = client.outputs(loaded)
        self._loaded = loaded
        self._frames: list[Frame] = []

    def __call__(self, inputs: Sequence[bytes]) -> list[tuple[str, tuple[int, ...], bytes]]:
        """Run once. The inputs have the sizes of `self.inputs`: the caller has checked."""
        try:
            frame = self._frames.pop()  # atomic, so that a frame serves one thread at a time
        except IndexError:
            frame = Frame(self, self._loaded)
        try:
            data = frame.run(inputs)
        finally:
            frame.clear()
            self._frames.append(frame)
        return [(*spec, part) for spec, part in zip(self.outputs, data, strict=True)]

    def close(self) -> None:
        """Let go of the executable; no call may be under way."""
        self._frames.clear()
        self.client.unload(self._loaded)


class Frame:
    """The structs of one call, filled in once; a call writes only what differs."""

    __slots__ = (
        "_address", "_arguments", "_client", "_discard", "_drop", "_event", "_events", "_execute",
        "_free", "_hosts", "_keep", "_outputs", "_place", "_point", "_read", "_run", "_sizes",
        "_wait", "_weights",
    )  # fmt: skip

    def __init__(self, program: Program, loaded: int) -> None:
        client, self._client = program.client, program.client
        self._weights = len(program.weights)
        self._sizes = [nbytes(*spec) for spec in program.outputs]
        self._hosts = [_host(client, *spec) for spec in program.inputs]

        count = self._weights + len(self._hosts)
        self._arguments = (pjrt.Word * (count or 1))(*program.weights)
        self._outputs = (pjrt.Word * (len(self._sizes) or 1))()
        self._events = (pjrt.Word * 1)()
        argument_lists = (pjrt.Word * 1)(ctypes.addressof(self._arguments))
        output_lists = (pjrt.Word * 1)(ctypes.addressof(self._outputs))
        options = pjrt.struct("ExecuteOptions")
        self._keep = (argument_lists, output_lists, options)

        self._execute = pjrt.struct("LoadedExecutable_Execute")
        self._execute.executable = loaded
        self._execute.options = options.address
        self._execute.argument_lists = ctypes.addressof(argument_lists)
        self._execute.num_devices = 1
        self._execute.num_args = count
        self._execute.output_lists = ctypes.addressof(output_lists)
        self._execute.device_complete_events = ctypes.addressof(self._events)
        self._event = pjrt.struct("Event_Await")  # Event_Destroy takes the same fields
        self._address = pjrt.struct("Buffer_OpaqueDeviceMemoryDataPointer")
        self._drop = pjrt.struct("Buffer_Destroy")

        self._place = client.api.entry("Client_BufferFromHostBuffer")
        self._run = client.api.entry("LoadedExecutable_Execute")
        self._wait = client.api.entry("Event_Await")
        self._free = client.api.entry("Event_Destroy")
        self._point = client.api.entry("Buffer_OpaqueDeviceMemoryDataPointer")
        self._discard = client.api.entry("Buffer_Destroy")
        self._read = self._alias if client.platform == "cpu" else self._copy

    def run(self, inputs: Sequence[bytes]) -> list[bytes]:
        """The bytes of the outputs; `clear` afterwards, whatever happened."""
        at = self._weights
        for host, data in zip(self._hosts, inputs, strict=True):
            host.data = data
            error = self._place(host.address)
            if error:
                self._client.api.fail("Client_BufferFromHostBuffer", error)
            self._arguments[at] = host.buffer
            at += 1
        error = self._run(self._execute.address)
        if not error:
            self._event.event = self._events[0]
            error = self._wait(self._event.address)
        if error:
            self._client.api.fail("LoadedExecutable_Execute", error)
        return [self._read(at, size) if size else b"" for at, size in enumerate(self._sizes)]

    def clear(self) -> None:
        """Let go of everything that a call made, also one that failed half-way."""
        for at, host in enumerate(self._hosts, self._weights):
            host.data = None
            self._release(host.done_with_host_buffer)
            host.done_with_host_buffer = 0
            self._destroy(self._arguments, at)
        self._release(self._events[0])
        self._events[0] = 0
        for at in range(len(self._sizes)):
            self._destroy(self._outputs, at)

    def _release(self, event: int) -> None:
        if event:
            self._event.event = event
            self._free(self._event.address)

    def _destroy(self, buffers: ctypes.Array[ctypes.c_uint64], at: int) -> None:
        if buffers[at]:
            self._drop.buffer = buffers[at]
            self._discard(self._drop.address)
            buffers[at] = 0

    def _alias(self, at: int, size: int) -> bytes:
        """Read an output where it is: its memory is this process's own."""
        self._address.buffer = self._outputs[at]
        error = self._point(self._address.address)
        if error:
            self._client.api.fail("Buffer_OpaqueDeviceMemoryDataPointer", error)
        return ctypes.string_at(self._address.device_memory_ptr, size)

    def _copy(self, at: int, size: int) -> bytes:
        """Read an output from the memory of a device."""
        data = ctypes.create_string_buffer(size)
        api = self._client.api
        event = api.call(
            "Buffer_ToHostBuffer", src=self._outputs[at],
            dst=ctypes.addressof(data), dst_size=size,
        ).event  # fmt: skip
        try:
            api.call("Event_Await", event=event)
        finally:
            api.call("Event_Destroy", event=event)
        return data.raw


def _host(client: Client, dtype: str, shape: tuple[int, ...]) -> Any:
    """The struct that hands over one input; its dims live as long as it does."""
    host = pjrt.struct("Client_BufferFromHostBuffer")
    host.keep = (ctypes.c_int64 * len(shape))(*shape)
    host.client, host.device = client.handle, client.device
    host.type = pjrt.TYPES[dtype]
    host.dims, host.num_dims = ctypes.addressof(host.keep), len(shape)
    host.host_buffer_semantics = pjrt.COPY_DURING_CALL
    return host
