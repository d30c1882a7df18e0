"""What an executable knows of itself: its bytes, its outputs, what it costs to run."""

from __future__ import annotations

import ctypes

from serve.errors import PluginError
from serve.runtime import api as pjrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from serve.runtime.api import Api

# struct PJRT_NamedValue: struct_size, extension_start, name, name_size, type, value, value_size
_NAME, _NAME_SIZE, _TYPE, _VALUE, _NAMED_VALUE = 16, 24, 32, 40, 56
# enum PJRT_NamedValue_Type
_INT64, _FLOAT = 1, 3
_COSTS = {"flops": "flops", "bytes accessed": "bytes_accessed"}


class Executable:
    """A compiled program, whether or not a device here can run it; close it, or use `with`."""

    __slots__ = ("_api", "handle")

    def __init__(self, api: Api, handle: int) -> None:
        self._api = api
        self.handle = handle

    def __enter__(self) -> Executable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; what was loaded of it stays loaded."""
        self._api.call("Executable_Destroy", executable=self.handle)

    def serialise(self) -> bytes:
        """The bytes that `Client.load` takes; two builds of one program differ in them."""
        made = self._api.call("Executable_Serialize", executable=self.handle)
        data = ctypes.string_at(made.serialized_bytes, made.serialized_bytes_size)
        pjrt.free(made.serialized_executable_deleter, made.serialized_executable)
        return data

    def outputs(self) -> list[tuple[str, tuple[int, ...]]]:
        """The (dtype, shape) of every output."""
        types = self._api.call("Executable_OutputElementTypes", executable=self.handle)
        sizes = self._api.call("Executable_OutputDimensions", executable=self.handle)
        count = types.num_output_types
        numbers = (ctypes.c_int * count).from_address(types.output_types) if count else []
        ranks = (ctypes.c_size_t * count).from_address(sizes.dim_sizes) if count else []
        found, at = [], sizes.dims
        for number, rank in zip(numbers, ranks, strict=True):
            shape = tuple((ctypes.c_int64 * rank).from_address(at)) if rank else ()
            found.append((pjrt.DTYPES[number], shape))
            at += 8 * rank
        return found

    def cost(self) -> dict[str, int]:
        """What the compiler says of one run, as far as it says it.

        `flops`, `bytes_accessed`, `peak_bytes` of memory beside the program, `code_bytes`.
        """
        return {**_answer(self._properties), **_answer(self._memory)}

    def _properties(self) -> dict[str, int]:
        said = self._api.call("Executable_GetCostAnalysis", executable=self.handle)
        found = {}
        for index in range(said.num_properties):
            at = said.properties + index * _NAMED_VALUE
            name = pjrt.text(_word(at + _NAME), _word(at + _NAME_SIZE))
            kind = ctypes.c_int.from_address(at + _TYPE).value
            if name in _COSTS and kind in (_INT64, _FLOAT):
                read = ctypes.c_float if kind == _FLOAT else ctypes.c_int64
                found[_COSTS[name]] = int(read.from_address(at + _VALUE).value)
        return {name: value for name, value in found.items() if value >= 0}

    def _memory(self) -> dict[str, int]:
        said = self._api.call("Executable_GetCompiledMemoryStats", executable=self.handle)
        names = {"code_bytes": "generated_code_size", "peak_bytes": "peak_memory"}
        read = {ours: getattr(said, f"{theirs}_in_bytes") for ours, theirs in names.items()}
        return {name: value for name, value in read.items() if value}


def _answer(ask: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Nothing, where the plugin has no answer: not every one has, and nobody needs it."""
    try:
        return ask()
    except PluginError:
        return {}


def _word(address: int) -> int:
    return pjrt.Word.from_address(address).value
