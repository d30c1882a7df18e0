"""Names: what people call a part."""

from lamda import errors
from lamda.function import Function
from lamda.model import Model, models
from lamda.term import Lift, Named


def named(f: Model, name: str) -> Model:
    """``named(f, name)(x)`` is ``f(x)``, and ``f`` is called ``name``.

    The name is used in paths of weights, in errors and where models are written.

    >>> import jax.numpy as jnp, lamda as lm
    >>> scale = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[]", name="scale")
    >>> model = named(scale >> scale, "body") >> named(scale, "head")
    >>> print(model, list(model.weights), model.address == (scale >> scale >> scale).address)
    body >> head ['body'] True

    Laws: the function is the same, so the address is; ``named(named(f, "a"), "b")`` is
    ``named(f, "b")``. Raises SpecError for what is no name: an empty text, or one with a ``/``.
    """
    models("named", [f])
    if not isinstance(name, str) or not name or "/" in name:
        raise errors.SpecError(errors.BAD_NAME.format(given=name))
    match f.term:
        case Lift(function, slot):
            term = Lift(_called(function, name), slot)
        case Named(_, inner):
            term = Named(name, inner)
        case inner:
            term = Named(name, inner)
    return f.derive(term, f.environment)


def _called(function: Function, name: str) -> Function:
    """The same function under another name."""
    renamed = Function(
        function.call,
        key=function.key,
        name=name,
        where=function.where,
        input=function.input,
        init=function.init,
        sample=function.sample,
        stored=function.stored,
    )
    renamed.share(function.known)
    return renamed
