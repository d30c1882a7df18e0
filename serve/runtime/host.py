"""Calls on a device whose memory is this process's own, such as the CPU: nothing is sent."""

from __future__ import annotations

import ctypes

from serve.bundle.manifest import nbytes
from serve.runtime import api as pjrt
from serve.runtime.frame import FIRST, SECOND, Frame, address, function, quick, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from serve.runtime.client import Client
    from serve.runtime.frame import Output
    from serve.runtime.program import Program

    Call = Callable[[Any], int]

ALIGNMENT = 64  # what XLA asks of memory that it shares rather than copies
SMALL = 64 << 10  # bytes: a second copy of them takes less time than a second call

# In the order of shim.c.
FAILED = ("", "LoadedExecutable_Execute", "Buffer_OpaqueDeviceMemoryDataPointer")
FUNCTIONS = (
    "LoadedExecutable_Execute", "Event_Await", "Event_Destroy",
    "Buffer_OpaqueDeviceMemoryDataPointer", "Buffer_Destroy",
)  # fmt: skip
ERROR = 13


class HostFrame(Frame):
    """A frame whose inputs are in place.

    Each has a buffer, made once, that aliases memory of the frame. A call writes the memory;
    nobody reads it then, since the call before has ended.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        client = program.client
        self._place = words(pjrt.struct("Buffer_OpaqueDeviceMemoryDataPointer"))
        self._find = function(client, "Buffer_OpaqueDeviceMemoryDataPointer", quick)
        self._views: list[memoryview] = []
        for at, spec in enumerate(program.inputs, self._first):
            memory = Aligned(nbytes(*spec))
            self._views.append(memory.view)
            self._arguments[at] = client.place(memory.address, *spec)

    def __call__(self, inputs: Sequence[bytes]) -> list[Output]:
        """Run once."""
        for at, view in enumerate(self._views):
            view[:] = inputs[at]
        self._run()
        return [
            (dtype, shape, self._take(at, type))
            for at, (dtype, shape, type) in enumerate(self._types)
        ]

    def close(self) -> None:
        """Let go of everything, once a call that was cut short has ended."""
        super().close()
        for at in range(self._first, len(self._arguments)):
            self._destroy(self._destroy_buffer, self._arguments, at)

    def _take(self, at: int, type: type[ctypes.Array[ctypes.c_char]]) -> bytes:
        """The bytes of an output, which is let go of."""
        place, spent, outputs = self._place, self._spent, self._outputs
        place[FIRST] = outputs[at]
        error = self._find(place)
        if error:
            self._client.api.fail("Buffer_OpaqueDeviceMemoryDataPointer", error)
        data = type.from_address(place[SECOND]).raw
        spent[FIRST] = outputs[at]
        outputs[at] = 0
        self._destroy_buffer(spent)
        return data


class ShimFrame(HostFrame):
    """A frame that is called by one function of C, while other threads run."""

    def __init__(self, program: Program, call: Call) -> None:
        super().__init__(program)
        self._call = call
        self._copies = [(dtype, shape, type()) for dtype, shape, type in self._types]
        sizes = [ctypes.sizeof(copy) for _, _, copy in self._copies]
        places = [ctypes.addressof(copy) for _, _, copy in self._copies]
        self._structs = (
            self._execution, self._event, self._place, self._spent, self._outputs,
            (pjrt.Word * (len(sizes) or 1))(*sizes), (pjrt.Word * (len(sizes) or 1))(*places),
        )  # fmt: skip
        self._frame = (pjrt.Word * (ERROR + 1))(
            *(address(program.client, name) for name in FUNCTIONS),
            *map(ctypes.addressof, self._structs),
            len(sizes),
        )

    @staticmethod
    def suits(program: Program) -> bool:
        """Are the outputs so small that a second copy costs less than a second call?"""
        return all(nbytes(*spec) <= SMALL for spec in program.outputs)

    def __call__(self, inputs: Sequence[bytes]) -> list[Output]:
        """Run once."""
        for at, view in enumerate(self._views):
            view[:] = inputs[at]
        failed = self._call(self._frame)
        if failed:
            self._client.api.fail(FAILED[failed], self._frame[ERROR])
        return [(dtype, shape, copy.raw) for dtype, shape, copy in self._copies]


class Aligned:
    """Zeroed memory at an address that XLA shares; `view` has its `size` bytes."""

    __slots__ = ("address", "view")

    def __init__(self, size: int) -> None:
        memory = (ctypes.c_ubyte * (size + ALIGNMENT))()
        start = -ctypes.addressof(memory) % ALIGNMENT
        self.address = ctypes.addressof(memory) + start
        self.view = memoryview(memory).cast("B")[start : start + size]


def aliases(client: Client) -> bool:
    """Does a buffer of this client share the memory it is made of? Tried, not assumed."""
    memory = Aligned(ALIGNMENT)
    buffer = client.place(memory.address, "uint8", (ALIGNMENT,))
    try:
        return client.address(buffer) == memory.address
    finally:
        client.free(buffer)
