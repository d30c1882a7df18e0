"""Lambda abstraction: a Python function of models is a model.

The function is called once, with symbols for its arguments. What it applies to them is written
down, step by step, and what it returns is made a term of these steps: :mod:`lamda.steps`.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, overload

import jax
import numpy as np

from lamda import check, errors, types
from lamda.combinators.const import const
from lamda.combinators.typed import typed
from lamda.errors import made_at
from lamda.function import Function
from lamda.lift import arithmetic
from lamda.lift.annotations import annotated
from lamda.model import Model
from lamda.steps import INPUT, At, Constant, Step, Tree, build, reads
from lamda.term import Lift, Term, slots
from lamda.types import Type
from lamda.uses import Use, apart, input_type


@overload
def fn(function: Callable[..., Any], *, input: Any = None) -> Model: ...
@overload
def fn(*, input: Any) -> Callable[[Callable[..., Any]], Model]: ...
def fn(function: Callable[..., Any] | None = None, *, input: Any = None) -> Any:
    """``fn(lambda x: g(f(x)))`` is ``f >> g``: a Python function that applies models is a model.

    The function may apply models, build tuples and dicts, pick from them by number or name, and
    use ``+ - * / @`` and unary ``-``, also with numbers and arrays, which are constants. Of one
    parameter it is a model of the input itself; of several, of the tuple of them; of keyword-only
    ones, of the dict of them. A parameter with a default is no input, and keeps it.

    ``input`` is the type of the input, written as for :func:`lift`; else it is what the
    annotations say, or what the models that read the arguments take.

    >>> import jax.numpy as jnp, lamda as lm
    >>> wave = lm.lift(jnp.sin, input="float32[b]")
    >>> @lm.fn
    ... def model(x, y):
    ...     h = wave(x)
    ...     return {"sum": h + y, "scaled": 2 * h}
    >>> model((jnp.zeros(2), jnp.ones(2)))["sum"].tolist()
    [1.0, 1.0]
    >>> print(lm.fn(lambda x: wave(x) + x))
    (sin & identity) >> add

    Laws: names of arguments leave no trace; ``fn(lambda x: f(x))`` is ``f`` (eta);
    ``fn(lambda x: fn(body)(g(x)))`` is ``fn(lambda x: body(g(x)))`` (beta); what is used twice is
    applied once, what is not used is discarded.

    Raises SpecError where Python is asked to decide, count or compute with a symbol, and where a
    symbol is used outside of its function; MismatchError where what is applied does not fit.
    """
    if function is None:
        return lambda later: fn(later, input=input)
    if isinstance(function, Model) or not callable(function):
        raise errors.SpecError(errors.FN_NOT_A_FUNCTION.format(value=function))
    scope = _Scope(getattr(function, "__name__", "fn").replace("<lambda>", "the lambda"))
    arguments = _Arguments(function, scope)
    try:
        result = scope.tree(function(*arguments.positional, **arguments.named))
    except TypeError as error:
        if Symbol.__name__ not in str(error):
            raise
        raise errors.SpecError(errors.FN_LIFT_FIRST.format(name=scope.name, error=error)) from error
    finally:
        scope.open = False
    return scope.model(arguments, result, None if input is None else types.typeof(input))


def _both(name: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """An operator, and the same with its sides exchanged."""
    return (lambda x, y: _operate(name, x, y)), (lambda x, y: _operate(name, y, x))


class Symbol:
    """What a function that becomes a model is called with: a value that is not known yet."""

    __slots__ = ("_at", "_scope")
    __array_ufunc__ = None  # numpy leaves the operators of arrays to symbols
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, scope: "_Scope", at: At) -> None:
        self._scope = scope
        self._at = at

    def __getitem__(self, key: str | int) -> "Symbol":
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise errors.SpecError(errors.FN_INDEX.format(name=self._scope.name, key=key))
        return Symbol(self._scope, At(self._at.step, (*self._at.path, key)))

    def __neg__(self) -> "Symbol":
        return _apply(arithmetic.negative(), self)

    def __repr__(self) -> str:
        return f"<a symbol of {self._scope.name}>"

    def _refuse(self, *_: Any) -> NoReturn:
        raise errors.SpecError(errors.FN_CONTROL.format(name=self._scope.name))

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"numpy asks for the numbers of a {type(self).__name__}")

    __bool__ = __iter__ = __contains__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse  # type: ignore[assignment]

    __add__, __radd__ = _both("add")
    __sub__, __rsub__ = _both("subtract")
    __mul__, __rmul__ = _both("multiply")
    __truediv__, __rtruediv__ = _both("divide")
    __matmul__, __rmatmul__ = _both("matmul")


def applied(model: Model, x: Any) -> Symbol | None:
    """``model`` at ``x``, written down, where ``x`` holds a symbol; else ``None``."""
    scopes = list(dict.fromkeys(symbol._scope for symbol in _symbols(x)))
    if not scopes:
        return None
    for scope in scopes:
        scope.require_open()
    if len(scopes) > 1:
        inner, outer = scopes[0].name, scopes[1].name
        raise errors.SpecError(errors.FN_MIXED.format(inner=inner, outer=outer))
    return scopes[0].apply(model, x)


def _symbols(value: Any) -> Iterator[Symbol]:
    if isinstance(value, Symbol):
        yield value
    elif isinstance(value, dict | tuple | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _symbols(part)


def _operate(name: str, x: Any, y: Any) -> Any:
    """``x`` and ``y`` joined, one of which is a symbol."""
    left = not isinstance(x, Symbol)
    other = x if left else y
    if isinstance(other, Symbol | jax.Array | np.ndarray | np.generic):
        return _apply(arithmetic.pair(name), (x, y))
    if isinstance(other, bool | int | float | complex):
        return _apply(arithmetic.beside(name, other, left), y if left else x)
    return NotImplemented


def _apply(function: Function, argument: Any) -> Any:
    return applied(Model(Lift(function), {}, None, None, where=made_at()), argument)


class _Scope:
    """What one function does with its symbols."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = True
        self.steps: list[Step] = []
        self.applied: list[Model] = []
        self.outputs: list[Type | None] = []
        self.constants: list[Model] = []

    def require_open(self) -> None:
        if not self.open:
            raise errors.SpecError(errors.FN_LEAKED.format(name=self.name))

    def apply(self, model: Model, x: Any) -> Symbol:
        argument = self.tree(x)
        output = self._output(model, argument)
        self.steps.append(Step(model.term, argument))
        self.applied.append(model)
        self.outputs.append(output)
        return Symbol(self, At(len(self.steps) - 1))

    def _output(self, model: Model, argument: Tree) -> Type | None:
        """What it gives, as far as it is known now; a part that does not fit is refused here."""
        last, given = _step(argument), self._known(argument)
        if last is None or given is None:
            return model.output
        before = self.applied[last]
        place = check.place(before.term, before.where)
        return check.infer(model.term, given, model.weights_type, place).output

    def _known(self, tree: Tree) -> Type | None:
        """The type of what one step gives, as far as it is known now."""
        last = _step(tree)
        return None if last is None else self.outputs[last]

    def tree(self, value: Any) -> Tree:
        """A value over symbols, without them. Raises SpecError for what is none."""
        if isinstance(value, Symbol):
            if value._scope is not self:
                value._scope.require_open()
                text = errors.FN_MIXED.format(inner=self.name, outer=value._scope.name)
                raise errors.SpecError(text)
            return value._at
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: self.tree(part) for key, part in value.items()}
        if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
            return tuple(map(self.tree, value))
        if isinstance(value, bool | int | float | complex | jax.Array | np.ndarray | np.generic):
            self.constants.append(const(value))
            return Constant(self.constants[-1].term)
        raise errors.SpecError(errors.FN_VALUE.format(name=self.name, value=value))

    def model(self, arguments: "_Arguments", result: Tree, input: Type | None) -> Model:
        """The model of what the function returned."""
        whole = arguments.whole
        steps = [Step(s.term, At(INPUT) if s.argument == whole else s.argument) for s in self.steps]
        result = At(INPUT) if result == whole else result
        said = arguments.annotated if input is None else [Use((), input)]
        last = _step(result)
        if last is not None and steps[last].argument == At(INPUT) and not said:
            return self.applied[last]  # eta
        trees = [result, *(step.argument for step in self.steps)]
        read = [Use(at.path) for tree in trees for at in reads(tree) if at.step == INPUT]
        self._require_known(arguments, [*said, *read])
        uses = said if input is not None else [*said, *self._uses(), *read]
        term = build(steps, result)
        used = set(slots(term))
        parts = [m for m in (*self.applied, *self.constants) if used & m.environment.keys()]
        return self._typed(term, parts, uses, result)

    def _typed(self, term: Term, parts: list[Model], uses: list[Use], result: Tree) -> Model:
        """The model at the most general input type that these uses have."""
        general, tied = input_type(apart(uses)), input_type(uses)
        if general is None or tied is None:
            made = typed(term, parts, None)
            return made.derive(term, made.environment, output=self._known(result))
        try:
            return typed(term, parts, general)
        except errors.MismatchError:
            if types.plain(general) == types.plain(tied):
                raise
        return typed(term, parts, tied)  # one name in two arguments is one size, if it must be

    def _uses(self) -> Iterator[Use]:
        """What the models that are applied say of the input."""
        for step, model in zip(self.steps, self.applied, strict=True):
            if model.input is not None:
                yield from _said(step.argument, model.input, check.first(model.term, model.where))

    def _require_known(self, arguments: "_Arguments", uses: list[Use]) -> None:
        """Raises SpecError unless every argument is read, or has a type."""
        for name, path in arguments.paths.items():
            if not any(use.path[: len(path)] == path or not use.path for use in uses):
                raise errors.SpecError(errors.FN_UNUSED.format(name=self.name, argument=name))


def _step(tree: Tree) -> int | None:
    """The step that a tree is all of, if it is one."""
    match tree:
        case At(step, ()) if step != INPUT:
            return step
    return None


def _said(argument: Tree, type: Type, by: check.Place) -> Iterator[Use]:
    """What a type says of the input, where an argument of that type reads it."""
    if isinstance(argument, At):
        if argument.step == INPUT:
            yield Use(argument.path, type, by)
    elif isinstance(argument, tuple) and isinstance(type, tuple):
        for part, each in zip(argument, type, strict=False):
            yield from _said(part, each, by)
    elif isinstance(argument, dict) and isinstance(type, Mapping):
        for key in argument.keys() & type.keys():
            yield from _said(argument[key], type[key], by)


class _Arguments:
    """The symbols that a function is called with, and what its signature says of them."""

    def __init__(self, function: Callable[..., Any], scope: _Scope) -> None:
        taken = _parameters(function, scope.name)
        self.positional: list[Symbol] = []
        self.named: dict[str, Symbol] = {}
        self.paths: dict[str, tuple[str | int, ...]] = {}
        self.annotated: list[Use] = []
        for place, parameter in enumerate(taken):
            alone = len(taken) == 1
            if parameter.kind is parameter.KEYWORD_ONLY:
                path: tuple[str | int, ...] = (parameter.name,)
                self.named[parameter.name] = Symbol(scope, At(INPUT, path))
            else:
                path = () if alone else (place,)
                self.positional.append(Symbol(scope, At(INPUT, path)))
            self.paths[parameter.name] = path
            type = annotated(parameter.annotation, function)
            if type is not None:
                self.annotated.append(Use(path, type, check.Place(parameter.name, made_at())))

    @property
    def whole(self) -> Tree:
        """The input, as the tree of all arguments."""
        if self.named:
            return {name: symbol._at for name, symbol in self.named.items()}
        places = tuple(symbol._at for symbol in self.positional)
        return places[0] if len(places) == 1 else places


def _parameters(function: Callable[..., Any], name: str) -> Sequence[inspect.Parameter]:
    """The parameters that are inputs. Raises SpecError where they are of no form of a model."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise errors.SpecError(errors.FN_NOT_A_FUNCTION.format(value=function)) from None
    taken = [p for p in found if p.default is p.empty]
    starred = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in taken)
    if not taken or starred or len({p.kind is p.KEYWORD_ONLY for p in taken}) > 1:
        raise errors.SpecError(errors.FN_PARAMETERS.format(name=name))
    return taken
