"""One loaded program: a call from bytes to bytes."""

from __future__ import annotations

from _weakref import ref

from serve.runtime import shim
from serve.runtime.frame import Spec
from serve.runtime.host import HostFrame, ShimFrame, aliases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve.runtime.client import Client
    from serve.runtime.frame import Frame, Output


class Program:
    """`program(inputs)` is the outputs of a loaded executable on its weights and the inputs."""

    __slots__ = (
        "_every", "_free", "_host", "client", "inputs", "loaded", "outputs", "shim", "weights"
    )  # fmt: skip

    def __init__(
        self, client: Client, loaded: int, weights: Sequence[int], inputs: Sequence[Spec],
        made: shim.Shim | None = None,
    ) -> None:  # fmt: skip
        self.client = client
        self.weights = weights
        self.inputs = inputs
        self.outputs = client.outputs(loaded)
        self.loaded = loaded
        self.shim = shim.find() if made is None else made
        self._host = client.platform == "cpu" and aliases(client)
        self._every: set[ref[Frame]] = set()
        self._free: list[Frame] = []

    def __call__(self, inputs: Sequence[bytes]) -> list[Output]:
        """Run once. The inputs have the sizes of `self.inputs`: the caller has checked.

        Raises:
            PluginError: with the plugin's own message.
        """
        try:
            frame = self._free.pop()  # atomic, so that a frame serves one thread at a time
        except IndexError:
            frame = self._frame()
        outputs = frame(inputs)
        self._free.append(frame)  # after an exception it is not, and so it is closed
        return outputs

    def close(self) -> None:
        """Let go of the executable; no call may be under way."""
        for known in list(self._every):
            frame = known()
            if frame is not None:
                frame.close()
        self._free.clear()
        self.client.unload(self.loaded)

    def _frame(self) -> Frame:
        if not self._host:
            from serve.runtime.device import DeviceFrame

            frame = DeviceFrame(self)
        elif self.shim.call is not None and ShimFrame.suits(self):
            frame = ShimFrame(self, self.shim.call)
        else:
            frame = HostFrame(self)
        self._every.add(ref(frame, self._every.discard))
        return frame
