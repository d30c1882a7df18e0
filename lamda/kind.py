"""Kinds of control: how functions are made of functions, apart from composing and branching."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

from lamda.types import Type


@dataclass(frozen=True)
class Kind(ABC):
    """One kind of control; a subclass says what its bodies take, what it gives, how it runs.

    Its fields are its parameters: None, bool, int, str or tuples of these, part of the address.
    """

    name: ClassVar[str]
    transparent: ClassVar[bool] = False
    """Whether it means what its one body means, and so leaves no trace in the address."""

    @abstractmethod
    def inputs(self, input: Type, count: int) -> Sequence[Type]:
        """What each of ``count`` bodies is applied to, for this input. Raises MismatchError."""

    @abstractmethod
    def output(self, input: Type, outputs: Sequence[Type]) -> Type:
        """What it gives where its bodies give ``outputs``. Raises MismatchError."""

    @abstractmethod
    def run(self, bodies: Sequence[Callable[[Any], Any]], x: Any) -> Any:
        """Its value at ``x``, in JAX; ``bodies`` are the functions that the bodies mean."""

    def declared(self, bodies: Sequence[Type | None]) -> Type | None:
        """The input type that follows from those that the bodies declare, if one does."""
        return None

    def show(self, bodies: Sequence[str]) -> str:
        """How it is written."""
        return f"{self.name}({', '.join([*bodies, *map(repr, astuple(self))])})"

    @property
    def key(self) -> tuple[Any, ...]:
        """What it is, for addresses and stores: its name and its parameters."""
        return self.name, *astuple(self)
