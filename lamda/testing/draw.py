"""Drawing: what a law speaks of, chosen to fit together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis.strategies import DataObject, SearchStrategy, just

from lamda import errors
from lamda.model import Model
from lamda.testing import strategies
from lamda.types import Type

T = TypeVar("T")
Combinator = Callable[[Model], Model]


@dataclass(frozen=True)
class Subject:
    """What laws are checked of: the models of a strategy, and a combinator if it is one."""

    models: SearchStrategy[Model]
    combinator: Combinator | None = None

    @classmethod
    def of(cls, value: Any = None) -> "Subject":
        """The subject that a model, a combinator, a strategy of models, or nothing stands for.

        Nothing stands for all models of the language. Raises SpecError for anything else.
        """
        if isinstance(value, cls):
            return value
        if value is None:
            return cls(strategies.models())
        if isinstance(value, Model):
            return cls(strategies.closed(value) if value.open else just(value))
        if isinstance(value, SearchStrategy):
            return cls(value)
        if callable(value):
            combinator: Any = value
            return cls(strategies.models(within=[combinator]), combinator)
        raise errors.SpecError(errors.BAD_SUBJECT.format(value=value))


class Draw:
    """Draws models and values for a law, each typed to fit what was drawn before it."""

    def __init__(self, data: DataObject, subject: Subject) -> None:
        self.data = data
        self.subject = subject

    def __call__(self, strategy: SearchStrategy[T], label: str | None = None) -> T:
        """What a strategy gives."""
        return self.data.draw(strategy, label)

    def model(self, label: str = "f") -> Model:
        """A model of the subject, closed."""
        return self(self.subject.models, label)

    def combinator(self) -> Combinator:
        """The combinator of the subject, or one of the language's."""
        if self.subject.combinator is not None:
            return self.subject.combinator
        return self(strategies.combinators(), "c")

    def term(self, input: Type, output: Type | None = None, label: str = "g") -> Model:
        """A closed model of this type; the subject plays no part in it."""
        return self(strategies.models(input=input, output=output), label)

    def after(self, f: Model, label: str = "g") -> Model:
        """A model that takes what ``f`` gives."""
        return self.term(strategies.given(f), None, label)

    def beside(self, f: Model, label: str = "g") -> Model:
        """A model that takes what ``f`` takes."""
        return self.term(f.require_input(), None, label)

    def like(self, f: Model, label: str = "g") -> Model:
        """A model with the input and output type of ``f``."""
        return self.term(f.require_input(), strategies.given(f), label)

    def input(self, f: Model, label: str = "x") -> Any:
        """A value that ``f`` takes."""
        return self(strategies.inputs(f), label)

    def weights(self, f: Model, label: str = "w") -> Any:
        """Other weights for ``f``: a tree like ``f.weights``."""
        return self(strategies.weights(f), label)
