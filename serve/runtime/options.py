"""How a program is compiled: XLA's CompileOptionsProto, written by hand.

Field numbers: `xla/pjrt/proto/compile_options.proto` of openxla/xla (83ee409).
"""

from __future__ import annotations

from serve.runtime import proto

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# CompileOptionsProto
_BUILD_OPTIONS, _OVERRIDES = 3, 7
# ExecutableBuildOptionsProto
_DEVICE, _REPLICAS, _PARTITIONS = 1, 4, 5
# an entry of a map<string, OptionOverrideProto>, and the string in the latter
_KEY, _VALUE, _STRING = 1, 2, 1

ANY_DEVICE = -1


def encode(flags: Mapping[str, str] | None = None) -> bytes:
    """The options of a program for one device; `flags` are those of XLA_FLAGS, without `--`.

    XLA parses each value by the type of its flag, and refuses a flag that it does not know.
    """
    build = proto.encode([(_DEVICE, ANY_DEVICE), (_REPLICAS, 1), (_PARTITIONS, 1)])
    overrides = [
        (_OVERRIDES, proto.encode([
            (_KEY, name.encode()),
            (_VALUE, proto.encode([(_STRING, value.encode())])),
        ]))
        for name, value in sorted((flags or {}).items())
    ]  # fmt: skip
    return proto.encode([(_BUILD_OPTIONS, build), *overrides])
