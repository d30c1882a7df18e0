"""Receipts: what went into a training run, by address."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Receipt:
    """The inputs of a training run: whoever has them can run it again and compare addresses."""

    model: str
    """The address of the model that was trained."""
    data: str
    """The address of the inputs and targets."""
    step: str
    """The digest of the program of one step: model, loss and optimiser together."""
    key: tuple[int, ...]
    """The random key that orders the examples."""
    steps: int
    batch: int
    loss: float
    """The mean loss over the last tenth of the steps."""
    jax: str
    """The version of JAX."""
    platform: str
    """``cpu``, ``gpu`` or ``tpu``."""

    def to_json(self) -> dict[str, Any]:
        """The receipt as JSON values."""
        return asdict(self) | {"key": list(self.key)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Receipt":
        """The receipt that :meth:`to_json` wrote."""
        fields: dict[str, Any] = value | {"key": tuple(value["key"])}
        return cls(**fields)
