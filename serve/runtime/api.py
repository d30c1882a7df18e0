"""The PJRT C API in ctypes: one table, one calling convention.

Every PJRT function takes one pointer, to a struct of its arguments, and returns an error or null.
The struct begins with its own size and an extension pointer; the fields after them are all one
word wide on a 64-bit machine (a narrower enum or bool is padded to a word, and little-endian, so a
zeroed word reads it right). That makes the whole binding the table FUNCTIONS.

Source: `xla/pjrt/c/pjrt_c_api.h` of openxla/xla. Slots and offsets are those of version 0.114 as
laid out by libclang (the generated table of pypjrt 0.1.1); semantics are those of the comments in
the header, read at 0.33. The header's promise is that slots and fields are only ever added at the
end within major version 0. A plugin refuses a struct shorter than the one it was built with, so
every struct here is followed by zeros, which to a newer plugin are the defaults of its new fields.
"""

from __future__ import annotations

import ctypes
import os

from serve import errors
from serve.errors import PluginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# name: (slot in PJRT_Api, fields after struct_size and extension_start)
# A field with a star is a pointer to bytes, and takes Python bytes as well as an address.
FUNCTIONS = {
    "Error_Destroy": (0, "error"),
    "Error_Message": (1, "error message message_size"),
    "Plugin_Initialize": (3, ""),
    "Event_Destroy": (5, "event"),
    "Event_Await": (8, "event"),
    "Client_Create": (
        10,
        "create_options num_options kv_get_callback kv_get_user_arg kv_put_callback "
        "kv_put_user_arg client kv_try_get_callback kv_try_get_user_arg",
    ),
    "Client_Destroy": (11, "client"),
    "Client_PlatformName": (12, "client platform_name platform_name_size"),
    "Client_AddressableDevices": (16, "client addressable_devices num_addressable_devices"),
    "Client_Compile": (20, "client program *compile_options compile_options_size executable"),
    "Client_BufferFromHostBuffer": (
        22,
        "client *data type dims num_dims byte_strides num_byte_strides host_buffer_semantics "
        "device memory device_layout done_with_host_buffer buffer",
    ),
    "DeviceDescription_Kind": (26, "device_description device_kind device_kind_size"),
    "Device_GetDescription": (29, "device device_description"),
    "Executable_Destroy": (40, "executable"),
    "Executable_SizeOfGeneratedCodeInBytes": (45, "executable size_in_bytes"),
    "Executable_GetCostAnalysis": (46, "executable num_properties properties"),
    "Executable_Serialize": (
        49,
        "executable serialized_bytes serialized_bytes_size serialized_executable "
        "serialized_executable_deleter",
    ),
    "LoadedExecutable_Destroy": (50, "executable"),
    "LoadedExecutable_GetExecutable": (51, "loaded_executable executable"),
    "LoadedExecutable_Execute": (
        55,
        "executable options argument_lists num_devices num_args output_lists "
        "device_complete_events execute_device",
    ),
    "Executable_DeserializeAndLoad": (
        56,
        "client *serialized_executable serialized_executable_size loaded_executable "
        "overridden_serialized_compile_options overridden_serialized_compile_options_size "
        "load_options",
    ),
    "Buffer_Destroy": (58, "buffer"),
    "Buffer_ToHostBuffer": (70, "src host_layout dst dst_size event"),
    "Buffer_OpaqueDeviceMemoryDataPointer": (76, "buffer device_memory_ptr"),
    "TopologyDescription_Create": (
        82,
        "*topology_name topology_name_size create_options num_options topology",
    ),
    "TopologyDescription_Destroy": (83, "topology"),
    "TopologyDescription_PlatformName": (84, "topology platform_name platform_name_size"),
    "TopologyDescription_GetDeviceDescriptions": (86, "topology descriptions num_descriptions"),
    "TopologyDescription_Serialize": (
        87,
        "topology serialized_bytes serialized_bytes_size serialized_topology "
        "serialized_topology_deleter",
    ),
    "Compile": (89, "topology program *compile_options compile_options_size client executable"),
    "Executable_OutputElementTypes": (90, "executable output_types num_output_types"),
    "Executable_OutputDimensions": (91, "executable num_outputs dims dim_sizes"),
    "Client_TopologyDescription": (95, "client topology"),
    "Executable_GetCompiledMemoryStats": (
        96,
        "executable generated_code_size_in_bytes argument_size_in_bytes output_size_in_bytes "
        "alias_size_in_bytes temp_size_in_bytes host_generated_code_size_in_bytes "
        "host_argument_size_in_bytes host_output_size_in_bytes host_alias_size_in_bytes "
        "host_temp_size_in_bytes peak_memory_in_bytes total_size_in_bytes",
    ),
    "TopologyDescription_Deserialize": (
        114,
        "*serialized_topology serialized_topology_size topology",
    ),
}

# Structs that are not the arguments of a function.
STRUCTS = {
    "Program": "*code code_size *format format_size",
    "ExecuteOptions": (
        "send_callbacks recv_callbacks num_send_ops num_recv_ops launch_id "
        "non_donatable_input_indices num_non_donatable_input_indices context call_location "
        "num_tasks task_ids incarnation_ids multi_slice_config "
        "use_major_to_minor_data_layout_for_callbacks hlo_output_callbacks "
        "num_hlo_output_callbacks"
    ),
    "NamedValue": "*name name_size type *value value_size",
}

# enum PJRT_Buffer_Type, the part of it that a bundle may hold
TYPES = {
    "bool": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5,
    "uint8": 6, "uint16": 7, "uint32": 8, "uint64": 9,
    "float16": 10, "float32": 11, "float64": 12, "bfloat16": 13,
}  # fmt: skip
DTYPES = {number: dtype for dtype, number in TYPES.items()}

# enum PJRT_HostBufferSemantics
COPY_DURING_CALL = 0
ZERO_COPY = 2

# struct PJRT_Api: struct_size, extension_start, then PJRT_Api_Version (struct_size,
# extension_start, int major, int minor), then the slots
MAJOR_OFFSET, MINOR_OFFSET, SLOTS_OFFSET = 32, 36, 40
OLDEST_MINOR = 30  # Executable_OutputDimensions came before it

Word = ctypes.c_uint64
PADDING = 16  # words of zeros for the fields of newer versions
_function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_procedure = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_layouts: dict[str, Any] = {}


def struct(name: str) -> Any:
    """A zeroed struct of the tables, with `struct_size` set and its `address` at hand."""
    layout = _layouts.get(name)
    if layout is None:
        fields = FUNCTIONS[name][1] if name in FUNCTIONS else STRUCTS[name]
        layout = _layouts[name] = _layout(name, fields)
    made = layout(ctypes.sizeof(layout))
    made.address = ctypes.addressof(made)
    return made


def _layout(name: str, fields: str) -> type[ctypes.Structure]:
    members: list[tuple[str, Any]] = [("struct_size", Word), ("extension_start", Word)]
    for field in fields.split():
        kind = ctypes.c_char_p if field.startswith("*") else Word
        members.append((field.lstrip("*"), kind))
    members.append(("padding", Word * PADDING))
    return type(name, (ctypes.Structure,), {"_fields_": members})


class Api:
    """The functions of one plugin."""

    __slots__ = ("_count", "_entries", "_library", "path", "version")

    def __init__(self, path: str) -> None:
        """Load the shared library at `path` and initialise the plugin in it.

        Raises:
            PluginError: it can not be loaded, or is no PJRT plugin of a known version.
        """
        self.path = path
        try:
            self._library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
            get = self._library.GetPjrtApi
        except (OSError, AttributeError) as reason:
            text = errors.PLUGIN_UNLOADABLE.format(path=path, reason=reason)
            raise PluginError(text) from None
        get.restype = ctypes.c_void_p
        base = get()
        if not base:
            text = errors.PLUGIN_UNLOADABLE.format(path=path, reason="GetPjrtApi gave nothing")
            raise PluginError(text)
        major = ctypes.c_int.from_address(base + MAJOR_OFFSET).value
        minor = ctypes.c_int.from_address(base + MINOR_OFFSET).value
        self.version = f"{major}.{minor}"
        if major != 0 or minor < OLDEST_MINOR:
            raise PluginError(
                errors.PLUGIN_OTHER_ABI.format(path=path, version=self.version, oldest=OLDEST_MINOR)
            )
        self._count = (Word.from_address(base).value - SLOTS_OFFSET) // ctypes.sizeof(Word)
        self._entries = (Word * self._count).from_address(base + SLOTS_OFFSET)
        self.call("Plugin_Initialize")

    def entry(self, name: str) -> Callable[[int], int | None]:
        """The C function: takes the address of its struct, returns an error or None.

        Raises:
            PluginError: the plugin is of a version that has no such function.
        """
        slot = FUNCTIONS[name][0]
        if slot >= self._count or not self._entries[slot]:
            raise PluginError(
                errors.PLUGIN_LACKS.format(
                    path=self.path, version=self.version, function=f"PJRT_{name}"
                )
            )
        return _function(self._entries[slot])

    def call(self, name: str, **fields: Any) -> Any:
        """Call a function with these fields, and return its struct with the results in it.

        Raises:
            PluginError: with the plugin's own message.
        """
        arguments = struct(name)
        for field, value in fields.items():
            setattr(arguments, field, value)
        error = self.entry(name)(arguments.address)
        if error:
            self.fail(name, error)
        return arguments

    def fail(self, name: str, error: int) -> None:
        """Raise an error of the plugin, and free it."""
        said = struct("Error_Message")
        said.error = error
        _procedure(self._entries[FUNCTIONS["Error_Message"][0]])(said.address)
        message = text(said.message, said.message_size)
        freed = struct("Error_Destroy")
        freed.error = error
        _procedure(self._entries[FUNCTIONS["Error_Destroy"][0]])(freed.address)
        raise PluginError(
            errors.PLUGIN_FAILED.format(function=f"PJRT_{name}", path=self.path, message=message)
        )


def program(stablehlo: bytes) -> Any:
    """The struct of a StableHLO program, which keeps its bytes alive."""
    made = struct("Program")
    made.code, made.code_size = stablehlo, len(stablehlo)
    made.format, made.format_size = b"mlir", 4
    return made


def free(deleter: int, owner: int) -> None:
    """Let go of what a plugin made, by the deleter that it gave."""
    _procedure(deleter)(owner)


def text(address: int, size: int) -> str:
    """The string that a plugin keeps at an address."""
    return ctypes.string_at(address, size).decode("utf-8", "replace")
