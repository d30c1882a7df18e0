"""The memory of one call: filled in once, so that a call writes only what differs.

A signal of the operating system may raise an exception after any call that Python makes, also one
of C. So a handle is forgotten first and destroyed then: Python looks for signals after calls and
at jumps, and nothing comes between a plain line `handle = 0` and the start of the call after it.
"""

from __future__ import annotations

import ctypes

from serve.bundle.manifest import nbytes
from serve.runtime import api as pjrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from serve.runtime.client import Client
    from serve.runtime.program import Program

    Words = ctypes.Array[ctypes.c_uint64]
    Function = Callable[[Words], int | None]
    Output = tuple[str, tuple[int, ...], bytes]

Spec = tuple[str, tuple[int, ...]]
WORD = ctypes.sizeof(pjrt.Word)

FIRST, SECOND = 2, 3  # fields in words: before them are struct_size and extension_start

# Without types of arguments, which take longer than the call. Other threads run during one of the
# first kind; the second is for what is over before they could.
waiting = ctypes.CFUNCTYPE(ctypes.c_void_p)
quick = ctypes.PYFUNCTYPE(ctypes.c_void_p)


class Frame:
    """The memory of one call at a time of a loaded executable.

    `frame(inputs)` is the (dtype, shape, bytes) of every output, or a PluginError with the plugin's
    own message. After any exception a frame is of no more use, and closes when nobody has it.
    """

    def __init__(self, program: Program) -> None:
        client, self._client = program.client, program.client
        self._first = len(program.weights)  # of the inputs among the arguments
        count = self._first + len(program.inputs)
        self._arguments = (pjrt.Word * (count or 1))(*program.weights)
        self._outputs = (pjrt.Word * (len(program.outputs) or 1))()
        self._types = [(*spec, ctypes.c_char * nbytes(*spec)) for spec in program.outputs]
        self._event = words(pjrt.struct("Event_Await"))
        self._spent = words(pjrt.struct("Buffer_Destroy"))  # Event_Destroy takes the same fields
        self._lists = (pjrt.Word * 2)(*map(ctypes.addressof, (self._arguments, self._outputs)))
        self._options = pjrt.struct("ExecuteOptions")

        execution = pjrt.struct("LoadedExecutable_Execute")
        execution.executable, execution.options = program.loaded, self._options.address
        execution.num_devices, execution.num_args = 1, count
        execution.argument_lists = ctypes.addressof(self._lists)
        execution.output_lists = ctypes.addressof(self._lists) + WORD
        # The event is written where it is awaited.
        execution.device_complete_events = ctypes.addressof(self._event) + FIRST * WORD
        self._execution = words(execution)

        self._execute = function(client, "LoadedExecutable_Execute", waiting)
        self._await = function(client, "Event_Await", waiting)
        self._destroy_event = function(client, "Event_Destroy", quick)
        self._destroy_buffer = function(client, "Buffer_Destroy", quick)

    def __call__(self, inputs: Sequence[bytes]) -> list[Output]:
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything, once a call that was cut short has ended."""
        if self._event[FIRST]:
            self._finish()
        for at in range(len(self._outputs)):
            self._destroy(self._destroy_buffer, self._outputs, at)

    def __del__(self) -> None:
        """Close, also where signals come meanwhile: a device may still be reading the inputs."""
        for _ in range(9):
            try:
                return self.close()
            except BaseException:  # of a signal, and the exception of the call is on its way
                continue

    def _run(self) -> None:
        """Execute, and wait for the end."""
        error = self._execute(self._execution) or self._finish()
        if error:
            self._client.api.fail("LoadedExecutable_Execute", error)

    def _finish(self) -> int | None:
        """Wait for the event, and let go of it; its error."""
        event, spent = self._event, self._spent
        error = self._await(event)
        spent[FIRST] = event[FIRST]
        event[FIRST] = 0
        self._destroy_event(spent)
        return error

    def _destroy(self, by: Function, handles: Words, at: int) -> None:
        if handles[at]:
            self._spent[FIRST] = handles[at]
            handles[at] = 0
            by(self._spent)


def function(client: Client, name: str, kind: Callable[[int], Function]) -> Function:
    """A function of the plugin, that takes the words of its struct."""
    return kind(address(client, name))


def address(client: Client, name: str) -> int:
    """Where a function of the plugin is."""
    entry: Any = client.api.entry(name)
    return ctypes.cast(entry, ctypes.c_void_p).value or 0


def words(struct: ctypes.Structure) -> Words:
    """The words of a struct, which live as long as it does and are written in less time."""
    return (pjrt.Word * (ctypes.sizeof(struct) // WORD)).from_buffer(struct)
