"""The way through jax, for where there is no plugin. The one module of serve that names jax."""

from __future__ import annotations

import os

from serve import errors
from serve.errors import PluginError
from serve.runtime import agree, cache, digests
from serve.runtime.native import FLAGS
from serve.runtime.program import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from serve.bundle import Bundle

WHY = "No PJRT plugin was found, so jax {version} runs the StableHLO."


def available() -> bool:
    """Is jax installed? Looked up, not imported."""
    from importlib.util import find_spec

    return find_spec("jax") is not None


class Fallback:
    """A bundle in jax's own client for the CPU."""

    __slots__ = ("_bundle", "_client", "_device", "_version", "notes", "way", "weights", "why")

    def __init__(self, bundle: Bundle, notes: Sequence[str] = ()) -> None:
        flags = os.environ.pop("XLA_FLAGS", None)
        try:
            import jax
            from jax.extend.backend import get_backend

            self._client: Any = get_backend("cpu")
        except (RuntimeError, AssertionError) as reason:
            platforms = os.environ.get("JAX_PLATFORMS")
            text = errors.JAX_WITHOUT_CPU.format(platforms=platforms, reason=reason)
            raise PluginError(text) from None
        finally:
            if flags is not None:
                os.environ["XLA_FLAGS"] = flags
        self._bundle = bundle
        self._device = self._client.local_devices()[0]
        self._version = jax.__version__
        self.way, self.why = "jax", WHY.format(version=self._version)
        self.notes = [*notes, *([] if flags is None else [FLAGS.format(flags=flags)])]
        if reason := cache.refusal():
            self.notes.append(reason)
        self.weights = self._weights()

    def load(self, index: int) -> FallbackProgram:
        """The program with that index, compiled.

        Raises:
            BundleError: its StableHLO is not what the manifest says, or is of another program.
            PluginError: jax can not compile or run it.
        """
        file = self._bundle.programs[index]["stablehlo"]
        stablehlo = self._bundle.content(file)
        try:
            loaded = self._client.compile_and_load(stablehlo, (self._device,))
            made = FallbackProgram(loaded, self.place, self.weights, self._bundle.inputs(index))
        except (RuntimeError, ValueError) as reason:
            raise PluginError(errors.JAX_FAILED.format(
                version=self._version, path=self._bundle.path(file), reason=reason
            )) from None  # fmt: skip
        agree.outputs(self._bundle, index, file, made.outputs)
        return made

    def place(self, data: Any, dtype: str, shape: Sequence[int]) -> Any:
        """The bytes as an array on the device, of that dtype also where jax would narrow it."""
        import jax
        from numpy import frombuffer

        array = frombuffer(data, jax.numpy.dtype(dtype)).reshape(shape)
        with jax.enable_x64(True):
            return jax.device_put(array, self._device)

    def close(self) -> None:
        """Let go of the weights."""
        self.weights = []

    def _weights(self) -> list[Any]:
        from numpy import memmap

        packs = [
            memmap(path, mode="r") if pack["size"] else memoryview(b"")
            for pack in self._bundle.packs
            for path in (digests.checked(self._bundle, pack),)
        ]
        return [
            self.place(
                packs[tensor["pack"]][tensor["offset"] : tensor["offset"] + tensor["size"]],
                tensor["dtype"],
                tensor["shape"],
            )
            for tensor in self._bundle.tensors
        ]


class FallbackProgram:
    """One compiled program. It runs once when it is made, to learn what its outputs are."""

    __slots__ = ("_loaded", "_place", "_weights", "inputs", "outputs")

    def __init__(self, loaded: Any, place: Any, weights: list[Any], inputs: list[Spec]) -> None:
        from serve.bundle.manifest import nbytes

        self._loaded = loaded
        self._place = place
        self._weights = weights
        self.inputs = inputs
        zeros = self([bytes(nbytes(*spec)) for spec in inputs])
        self.outputs: list[Spec] = [(dtype, shape) for dtype, shape, _ in zeros]

    def __call__(self, inputs: Sequence[bytes]) -> list[tuple[str, tuple[int, ...], bytes]]:
        """Run once."""
        from numpy import asarray

        placed = [self._place(d, *spec) for d, spec in zip(inputs, self.inputs, strict=True)]
        done = self._loaded.execute_sharded([*self._weights, *placed])
        outputs = [asarray(parts[0]) for parts in done.disassemble_into_single_device_arrays()]
        return [(str(a.dtype), a.shape, a.tobytes()) for a in outputs]

    def close(self) -> None:
        """Nothing to do: jax frees what is no longer named."""
