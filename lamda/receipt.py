"""Receipts: what went into a training run, by address."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from lamda.address import sha256

PROGRAMS = "programs"
"""What a model remembers the programs under that it was trained by: a way to load each."""
TOLD = ("whole", "holdout", "taken", "kept", "final")
"""Where the data is from, and what a run found; all other fields are what went into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The inputs of a training run: whoever has them can run it again and compare addresses."""

    model: str
    """The address of the model that was trained."""
    trained: str = ""
    """The digest of which weights of it are trained: its address does not tell."""
    data: str
    """The address of the inputs and targets."""
    whole: str = ""
    """The address of the data set that these are a part of; empty where they are all of one."""
    holdout: float = 0.0
    """The share of that which is not among them."""
    loss: str
    """The digest of the program of the loss."""
    optimizer: str
    """The digest of the programs of the optimiser, its first state and its update; in a search, of
    programs that take settings, and the settings."""
    key: tuple[int, ...]
    """The random key that orders the examples, and draws what is random."""
    generator: str = "fry"
    """The random generator that the key is of."""
    steps: int
    """The steps that were asked for; 0 where all of a stream was."""
    batch: int
    """The examples of a step; 0 where a stream says it."""
    random: str = ""
    """The digest of the program of a step, where parts are random: no address tells of that."""
    accumulate: int = 1
    """In how many parts a step is computed."""
    dtype: str = ""
    """What the step computes in, where it is not what the model does."""
    eval: str = ""
    """The address of the data that training stops by, where it does."""
    every: int = 0
    """The steps between two looks at that."""
    patience: int = 0
    """How many looks without progress end the training."""
    devices: int = 1
    """Over how many devices a step is computed: sums are taken in another order."""
    together: str = ""
    """What was trained beside it in one program, and its place; empty where it was alone."""
    machines: int = 1
    """Over how many processes these are: sums are taken in another order."""
    jax: str
    """The version of JAX."""
    platform: str
    """``cpu``, ``gpu`` or ``tpu``."""
    taken: int = 0
    """The steps that were taken."""
    kept: int = 0
    """The step whose weights are the result: where training stops early, not the last."""
    final: float = 0.0
    """The mean loss over the last tenth of them."""

    @property
    def address(self) -> str:
        """The address of all that went into the run: equal receipts promise equal results."""
        inputs = [(k, v) for k, v in self.to_json().items() if k not in TOLD]
        return sha256(["receipt", sorted(inputs)])

    def to_json(self) -> dict[str, Any]:
        """The receipt as JSON values."""
        return asdict(self) | {"key": list(self.key)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Receipt":
        """The receipt that :meth:`to_json` wrote; what an older one did not say is empty."""
        known = {field.name for field in fields(cls)}
        given: dict[str, Any] = {"optimizer": ""}
        given |= {k: v for k, v in value.items() if k in known}
        if not isinstance(given["loss"], str):  # it was once the number
            given |= {"loss": "", "final": given["loss"]}
        given["key"] = tuple(value["key"])
        return cls(**given)
