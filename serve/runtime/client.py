"""A client of one plugin: compile, load, serialise, and put arrays on its device."""

from __future__ import annotations

import ctypes
import os

from serve import errors
from serve.errors import PluginError
from serve.runtime import api as pjrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# CompileOptionsProto, by hand. Field numbers: xla/pjrt/proto/compile_options.proto of openxla/xla
# (83ee409): CompileOptionsProto.executable_build_options = 3, and in ExecutableBuildOptionsProto
# device_ordinal = 1 (-1: any device), num_replicas = 4, num_partitions = 5.
_VARINT, _BYTES = 0, 2
_MINUS_ONE = b"\xff" * 9 + b"\x01"
_BUILD_OPTIONS = (
    bytes([1 << 3 | _VARINT]) + _MINUS_ONE
    + bytes([4 << 3 | _VARINT, 1])
    + bytes([5 << 3 | _VARINT, 1])
)  # fmt: skip
COMPILE_OPTIONS = bytes([3 << 3 | _BYTES, len(_BUILD_OPTIONS)]) + _BUILD_OPTIONS


class Client:
    """The plugin at `path`, and its first device.

    XLA reads XLA_FLAGS once, when its first client is made, and a flag that it does not know ends
    the process. So the variable is taken away meanwhile; `flags` is what it was.

    Raises:
        PluginError: the plugin can not be loaded, or has no device here.
    """

    __slots__ = ("api", "device", "flags", "handle", "platform")

    def __init__(self, path: str) -> None:
        self.flags = os.environ.pop("XLA_FLAGS", None)
        try:
            self.api = pjrt.Api(path)
            self.handle = self.api.call("Client_Create").client
        finally:
            if self.flags is not None:
                os.environ["XLA_FLAGS"] = self.flags
        said = self.api.call("Client_PlatformName", client=self.handle)
        self.platform = pjrt.text(said.platform_name, said.platform_name_size)
        found = self.api.call("Client_AddressableDevices", client=self.handle)
        if found.num_addressable_devices == 0:
            raise PluginError(errors.NO_DEVICE.format(path=path))
        self.device = pjrt.Word.from_address(found.addressable_devices).value

    def compile(self, stablehlo: bytes) -> int:
        """The loaded executable of a StableHLO program."""
        program = pjrt.struct("Program")
        program.code, program.code_size = stablehlo, len(stablehlo)
        program.format, program.format_size = b"mlir", 4
        return self.api.call(
            "Client_Compile", client=self.handle, program=program.address,
            compile_options=COMPILE_OPTIONS, compile_options_size=len(COMPILE_OPTIONS),
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

    def serialise(self, loaded: int) -> bytes:
        """The bytes that `load` takes."""
        executable = self._executable(loaded)
        try:
            made = self.api.call("Executable_Serialize", executable=executable)
            data = ctypes.string_at(made.serialized_bytes, made.serialized_bytes_size)
            free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(made.serialized_executable_deleter)
            free(made.serialized_executable)
            return data
        finally:
            self.api.call("Executable_Destroy", executable=executable)

    def outputs(self, loaded: int) -> list[tuple[str, tuple[int, ...]]]:
        """The (dtype, shape) of every output of a loaded executable."""
        executable = self._executable(loaded)
        try:
            types = self.api.call("Executable_OutputElementTypes", executable=executable)
            sizes = self.api.call("Executable_OutputDimensions", executable=executable)
            count = types.num_output_types
            numbers = (ctypes.c_int * count).from_address(types.output_types) if count else []
            ranks = (ctypes.c_size_t * count).from_address(sizes.dim_sizes) if count else []
            found, at = [], sizes.dims
            for number, rank in zip(numbers, ranks, strict=True):
                shape = tuple((ctypes.c_int64 * rank).from_address(at)) if rank else ()
                found.append((pjrt.DTYPES[number], shape))
                at += 8 * rank
            return found
        finally:
            self.api.call("Executable_Destroy", executable=executable)

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

    def _executable(self, loaded: int) -> int:
        """What a loaded executable knows of itself; to be destroyed by the caller."""
        return self.api.call("LoadedExecutable_GetExecutable", loaded_executable=loaded).executable
