"""Does what was loaded agree with the manifest? Seen after loading, as no digest can tell.

The digest of a program says that its bytes are those that the manifest names; these checks say
that it names the right ones.
"""

from __future__ import annotations

from serve import errors
from serve.bundle.manifest import nbytes
from serve.errors import BundleError, PluginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from serve.bundle import Bundle
    from serve.runtime.client import Client

    Shape = tuple[int | None, ...]


def outputs(
    bundle: Bundle, index: int, file: dict[str, Any], found: Sequence[tuple[str, Shape]]
) -> None:
    """Refuse a program, made of a FILE, whose outputs are not those of programs[index].

    Raises:
        BundleError: another number of them, or another dtype or shape.
    """
    expected = bundle.outputs(index)
    if not (len(found) == len(expected) and all(map(_fits, found, expected))):
        raise _other(bundle, file, f"the outputs {_shown(expected)}", _shown(found))


def inputs(
    bundle: Bundle, index: int, file: dict[str, Any], client: Client, loaded: int
) -> None:  # fmt: skip
    """Refuse an executable for a CPU that takes other inputs than programs[index], by their bytes.

    A plugin refuses as well, but only when it is called.

    Raises:
        BundleError: it takes another number of bytes.
    """
    found = _argument_bytes(client, loaded)
    expected = sum(tensor["size"] for tensor in bundle.tensors)
    expected += sum(nbytes(*spec) for spec in bundle.inputs(index))
    if found not in (0, expected):
        raise _other(bundle, file, f"{expected} bytes of weights and inputs", f"{found}")


def _fits(found: tuple[str, Shape], expected: tuple[str, Shape]) -> bool:
    (dtype, shape), (wanted, dims) = found, expected
    agree = len(shape) == len(dims) and all(map(lambda n, dim: dim in (None, n), shape, dims))
    return dtype == wanted and agree


def _argument_bytes(client: Client, loaded: int) -> int:
    """What an executable takes; 0 where it is not told, or not on a CPU: others pad."""
    if client.platform != "cpu":
        return 0
    with client.executable(loaded) as executable:
        try:
            said = client.api.call(
                "Executable_GetCompiledMemoryStats", executable=executable.handle
            )
        except PluginError:
            return 0
    return said.argument_size_in_bytes


def _other(bundle: Bundle, file: dict[str, Any], expected: str, found: str) -> BundleError:
    path = bundle.path(file)
    return BundleError(errors.OTHER_PROGRAM.format(path=path, expected=expected, found=found))


def _shown(specs: Sequence[tuple[str, Shape]]) -> str:
    """`float32[4, 2], bool[]`; a dimension that is not known is `_`."""
    return ", ".join(
        f"{dtype}[{', '.join('_' if dim is None else str(dim) for dim in dims)}]"
        for dtype, dims in specs
    )
