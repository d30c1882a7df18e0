"""Topologies: what a program is compiled for, be it here or not.

A topology is the client's own, or a name that the plugin knows (`v5e:2x2`), or bytes. The bytes of
the CPU's name the processor that code is made for, and can be written again for another one.
"""

from __future__ import annotations

import ctypes

from serve import errors
from serve.errors import PluginError
from serve.runtime import api as pjrt
from serve.runtime import proto
from serve.runtime.executable import Executable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from serve.runtime.api import Api
    from serve.runtime.client import Client

# PjRtTopologyDescriptionProto: platform_specific_topology, an Any of a CpuTopologyProto, where
# every device is a field 1 and the TargetMachineOptionsProto is field 5.
# Source: xla/pjrt/proto/topology_description.proto and xla/pjrt/plugin/xla_cpu of openxla/xla.
_SPECIFIC, _ANY_VALUE, _MACHINE = 9, 2, 5
_TRIPLE, _PROCESSOR, _FEATURES = 1, 2, 3
_STRING = 0  # enum PJRT_NamedValue_Type


class Topology:
    """Devices that a program can be compiled for."""

    __slots__ = ("_api", "_keep", "_owned", "handle")

    def __init__(self, api: Api, handle: int, owned: bool) -> None:
        self._api = api
        self._owned = owned
        self.handle = handle

    def close(self) -> None:
        """Let go of it."""
        if self._owned:
            self._api.call("TopologyDescription_Destroy", topology=self.handle)

    @property
    def kind(self) -> str:
        """What its devices call themselves, such as `cpu` or `TPU v5 lite`."""
        said = self._api.call("TopologyDescription_GetDeviceDescriptions", topology=self.handle)
        return kind(self._api, pjrt.Word.from_address(said.descriptions).value)

    @property
    def platform(self) -> str:
        """What a client of its devices calls its platform."""
        said = self._api.call("TopologyDescription_PlatformName", topology=self.handle)
        return pjrt.text(said.platform_name, said.platform_name_size)

    def compile(self, stablehlo: bytes, options: bytes) -> Executable:
        """The executable of a StableHLO program for one of its devices."""
        program = pjrt.program(stablehlo)
        made = self._api.call(
            "Compile", topology=self.handle, program=program.address,
            compile_options=options, compile_options_size=len(options),
        )  # fmt: skip
        return Executable(self._api, made.executable)

    def serialise(self) -> bytes:
        """The bytes that `deserialised` takes."""
        made = self._api.call("TopologyDescription_Serialize", topology=self.handle)
        data = ctypes.string_at(made.serialized_bytes, made.serialized_bytes_size)
        pjrt.free(made.serialized_topology_deleter, made.serialized_topology)
        return data


def own(client: Client) -> Topology:
    """The topology of a client."""
    found = client.api.call("Client_TopologyDescription", client=client.handle)
    return Topology(client.api, found.topology, owned=False)


def deserialised(api: Api, data: bytes) -> Topology:
    """The topology that these bytes describe."""
    made = api.call(
        "TopologyDescription_Deserialize",
        serialized_topology=data, serialized_topology_size=len(data),
    )  # fmt: skip
    return Topology(api, made.topology, owned=True)


def named(api: Api, name: str, options: Mapping[str, str]) -> Topology:
    """The topology that a plugin knows under a name, with no device here."""
    given = [_named_value(*item) for item in options.items()]
    count = len(given)
    size = ctypes.sizeof(given[0]) - 8 * pjrt.PADDING if given else 0
    block = ctypes.create_string_buffer(max(1, size * count))
    for index, value in enumerate(given):
        value.struct_size = size
        ctypes.memmove(ctypes.addressof(block) + index * size, value.address, size)
    made = api.call(
        "TopologyDescription_Create", topology_name=name.encode(), topology_name_size=len(name),
        create_options=ctypes.addressof(block), num_options=count,
    )  # fmt: skip
    return Topology(api, made.topology, owned=True)


def retargeted(client: Client, processor: Mapping[str, str]) -> Topology:
    """The topology of a CPU client, for another processor of the same architecture.

    `processor` has the keys `triple`, `name` and `features`, as LLVM understands them. A flag such
    as xla_cpu_max_isa would leave features of this machine in the code.

    Raises:
        PluginError: the topology is not one of a CPU as this module knows it.
    """
    machine = proto.encode([
        (_TRIPLE, processor["triple"].encode()),
        (_PROCESSOR, processor["name"].encode()),
        (_FEATURES, processor["features"].encode()),
    ])  # fmt: skip
    data = own(client).serialise()
    try:
        whole = proto.parse(data)
        wrapped = proto.parse(_only(whole, _SPECIFIC))
        cpu = proto.parse(_only(wrapped, _ANY_VALUE))
        written = proto.encode(_replaced(cpu, _MACHINE, machine))
        written = proto.encode(_replaced(wrapped, _ANY_VALUE, written))
        written = proto.encode(_replaced(whole, _SPECIFIC, written))
    except ValueError as reason:
        text = errors.NO_RETARGET.format(path=client.api.path, reason=reason)
        raise PluginError(text) from None
    return deserialised(client.api, written)


def kind(api: Api, description: int) -> str:
    """What a device calls itself."""
    said = api.call("DeviceDescription_Kind", device_description=description)
    return pjrt.text(said.device_kind, said.device_kind_size)


def _named_value(name: str, value: str) -> Any:
    made = pjrt.struct("NamedValue")
    made.name, made.name_size = name.encode(), len(name.encode())
    made.type = _STRING
    made.value, made.value_size = value.encode(), len(value.encode())
    return made


def _only(fields: list[proto.Field], number: int) -> bytes:
    found = [value for field, value in fields if field == number and isinstance(value, bytes)]
    if len(found) != 1:
        raise ValueError(f"expected one field {number}, found {len(found)}")
    return found[0]


def _replaced(fields: list[proto.Field], number: int, value: bytes) -> list[proto.Field]:
    _only(fields, number)
    return [(field, value if field == number else kept) for field, kept in fields]
