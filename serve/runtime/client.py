"""A client of one plugin: compile, load, serialise, and put arrays on its device."""

from __future__ import annotations

import ctypes
import os

from serve import errors
from serve.errors import PluginError
from serve.runtime import api as pjrt
from serve.runtime.executable import Executable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Client:
    """The plugin at a path, or one whose library is open already; and its first device.

    XLA reads XLA_FLAGS once, when its first client is made, and a flag that it does not know ends
    the process. So the variable is taken away meanwhile; `flags` is what it was.

    Raises:
        PluginError: the plugin can not be loaded, or has no device here.
    """

    __slots__ = ("api", "device", "flags", "handle", "kind", "platform")

    def __init__(self, plugin: str | pjrt.Api) -> None:
        self.flags = os.environ.pop("XLA_FLAGS", None)
        try:
            self.api = pjrt.Api(plugin) if isinstance(plugin, str) else plugin
            self.handle = self.api.call("Client_Create").client
        finally:
            if self.flags is not None:
                os.environ["XLA_FLAGS"] = self.flags
        said = self.api.call("Client_PlatformName", client=self.handle)
        self.platform = pjrt.text(said.platform_name, said.platform_name_size)
        found = self.api.call("Client_AddressableDevices", client=self.handle)
        if found.num_addressable_devices == 0:
            raise PluginError(errors.NO_DEVICE.format(path=self.api.path))
        self.device = pjrt.Word.from_address(found.addressable_devices).value
        described = self.api.call("Device_GetDescription", device=self.device).device_description
        said = self.api.call("DeviceDescription_Kind", device_description=described)
        self.kind = pjrt.text(said.device_kind, said.device_kind_size)

    def compile(self, stablehlo: bytes, options: bytes) -> int:
        """The loaded executable of a StableHLO program; `options` as `options.encode` writes."""
        program = pjrt.program(stablehlo)
        return self.api.call(
            "Client_Compile", client=self.handle, program=program.address,
            compile_options=options, compile_options_size=len(options),
        ).executable  # fmt: skip

    def load(self, serialised: bytes) -> int:
        """The loaded executable of bytes that this very plugin serialised.

        Bytes of another plugin, for another machine, or damaged ones, are not refused: they end
        the process, now or when run. Check first.
        """
        return self.api.call(
            "Executable_DeserializeAndLoad", client=self.handle,
            serialized_executable=serialised, serialized_executable_size=len(serialised),
        ).loaded_executable  # fmt: skip

    def outputs(self, loaded: int) -> list[tuple[str, tuple[int, ...]]]:
        """The (dtype, shape) of every output of a loaded executable."""
        with self.executable(loaded) as executable:
            return executable.outputs()

    def serialise(self, loaded: int) -> bytes:
        """The bytes that `load` takes."""
        with self.executable(loaded) as executable:
            return executable.serialise()

    def executable(self, loaded: int) -> Executable:
        """What a loaded executable knows of itself."""
        found = self.api.call("LoadedExecutable_GetExecutable", loaded_executable=loaded)
        return Executable(self.api, found.executable)

    def place(self, address: int, dtype: str, shape: Sequence[int]) -> int:
        """The buffer of an array that stays at `address`, unchanged, while the buffer lives.

        On a CPU the buffer is that memory, where it is aligned to 64 bytes, and else a copy.
        """
        dims = (ctypes.c_int64 * len(shape))(*shape)
        placed = self.api.call(
            "Client_BufferFromHostBuffer", client=self.handle, data=address,
            type=pjrt.TYPES[dtype], dims=ctypes.addressof(dims), num_dims=len(shape),
            host_buffer_semantics=pjrt.ZERO_COPY, device=self.device,
        )  # fmt: skip
        if placed.done_with_host_buffer:
            self.api.call("Event_Destroy", event=placed.done_with_host_buffer)
        return placed.buffer

    def address(self, buffer: int) -> int:
        """Where the bytes of a buffer are, in the memory of its device."""
        found = self.api.call("Buffer_OpaqueDeviceMemoryDataPointer", buffer=buffer)
        return found.device_memory_ptr

    def free(self, buffer: int) -> None:
        """Let go of a buffer."""
        self.api.call("Buffer_Destroy", buffer=buffer)

    def unload(self, loaded: int) -> None:
        """Let go of a loaded executable."""
        self.api.call("LoadedExecutable_Destroy", executable=loaded)

    def close(self) -> None:
        """Let go of the client; all that came from it must be let go before."""
        self.api.call("Client_Destroy", client=self.handle)
