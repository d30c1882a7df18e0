"""Control: a kind of control over models, with its types."""

from lamda.combinators.typed import typed
from lamda.kind import Kind
from lamda.model import Model
from lamda.term import Control


def control(kind: Kind, *bodies: Model) -> Model:
    """``control(kind, f, g)(x)`` is ``kind.run([f, g], x)``.

    Raises MismatchError where the bodies do not have the types that the kind asks for.
    """
    term = Control(kind, tuple(body.term for body in bodies))
    return typed(term, bodies, kind.declared([body.input for body in bodies]))
