"""What the peers run: the same numbers for all, and the answer that each must give."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "peers"
BATCHES = (1, 32)
HEAVY = "heavy"
"""Not a model to be run, but 1 GiB of weights."""
LENGTH, VOCABULARY = 128, 30_522


class Case(NamedTuple):
    """A model at one batch size."""

    name: str
    batch: int
    inputs: dict[str, np.ndarray]

    @property
    def folder(self) -> Path:
        """Where everything made of the model lies."""
        return CACHE / "models" / self.name

    @property
    def spec(self) -> str:
        """Name, dtype and shape of each input: what a child process is told."""
        return ",".join(
            f"{name}:{array.dtype}:{'x'.join(map(str, array.shape))}"
            for name, array in self.inputs.items()
        )

    def check(self, answer: bytes) -> None:
        """Is it the right answer, to 1e-5 of its largest number? AssertionError where it is not."""
        wanted = np.load(self.folder / f"b{self.batch}.answer.npy")
        assert len(answer) == wanted.nbytes, f"{len(answer)} bytes, expected {wanted.nbytes}"
        found = np.frombuffer(answer, wanted.dtype).reshape(wanted.shape)
        self.compare(found, wanted)

    def compare(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """The same, of arrays."""
        apart, most = np.abs(found - wanted).max(), 1e-5 * np.abs(wanted).max()
        assert apart <= most, f"{self.name}: {apart:.1e} from the answer, {most:.1e} is allowed"


def case(name: str, batch: int) -> Case:
    """A model with its inputs."""
    return Case(name, batch, INPUTS[name](batch))


def _mlp_inputs(batch: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((batch, 512), np.float32)}


def _minilm_inputs(batch: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(2).integers(0, VOCABULARY, (batch, LENGTH))
    lengths = LENGTH - np.arange(batch)[:, None]  # all of the first text, less of the others
    mask = np.arange(LENGTH)[None] < lengths
    return {"ids": ids.astype(np.int32), "mask": mask.astype(np.int32)}


def _add_one_inputs(batch: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(16 * batch, dtype=np.float32).reshape(batch, 16)}


INPUTS = {"mlp": _mlp_inputs, "minilm": _minilm_inputs, "add_one": _add_one_inputs}
TYPES: dict[str, Any] = {
    "mlp": "float32[b, 512]",
    "minilm": {"ids": f"int32[b, {LENGTH}]", "mask": f"int32[b, {LENGTH}]"},
    "add_one": "float32[b, 16]",
}
