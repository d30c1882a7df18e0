"""Distillation: a student is fitted to what a teacher gives."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from lamda import check, errors, types
from lamda.fit.examples import Examples
from lamda.fit.features import features
from lamda.fit.fit import fit
from lamda.fit.soft import Loss, Mixed, Softened, cross_entropy
from lamda.model import Model, models
from lamda.types import ArrayType, Type
from lamda.unify import Unifier


def distil(
    teacher: Model,
    student: Model,
    data: Any,
    *,
    loss: Loss | None = None,
    temperature: float = 1.0,
    alpha: float = 0.0,
    label_loss: Loss | None = None,
    eval: Any = None,
    **options: Any,
) -> Model:
    """``distil(t, s, x, ...)`` is ``fit(s, (x, t(x)), ...)``: the student learns to give ``t(x)``.

    ``data`` is inputs, of the type that both take. ``loss(prediction, output)`` compares what the
    student gives with what the teacher gave; by default both are logits, one array with the
    classes last, and it is ``T^2 * cross entropy(softmax(output / T), softmax(prediction / T))``
    at ``temperature`` ``T``, in float32 at least. With ``alpha`` above 0 ``data`` is
    ``(inputs, labels)``, or a data set, and the loss ``(1 - alpha) * loss + alpha * label_loss``,
    where ``label_loss(prediction, label)`` is the cross entropy with whole numbers as labels, if
    not said. ``eval`` is held-out data of the form of ``data``. All other ``options`` are those
    of :func:`lamda.fit`: ``optimizer``, ``steps``, ``batch``, ``key`` and so on.

    The teacher runs once over the data, not in every step, and without randomness; what it gives
    is part of the data that the receipt names. The result is the successor of ``student``.

    >>> import jax, jax.numpy as jnp, lamda as lm, optax
    >>> def linear(kernel, name):
    ...     return lm.lift(lambda w, x: x @ w, kernel, input="float32[b, 2]", name=name)
    >>> teacher = linear(jnp.float32([[3, 0], [0, 3]]), "teacher")
    >>> student = linear(jnp.zeros((2, 2)), "student")
    >>> fitted = distil(teacher, student, jnp.eye(2), optimizer=optax.sgd(1.0), steps=300, batch=2,
    ...                 key=jax.random.key(0), progress=False)
    >>> [round(p, 2) for p in jax.nn.softmax(fitted(jnp.eye(2)))[0].tolist()]
    [0.95, 0.05]
    >>> [round(p, 2) for p in jax.nn.softmax(teacher(jnp.eye(2)))[0].tolist()]
    [0.95, 0.05]

    Raises MismatchError where the two take or give other types, SpecError for data or numbers of
    another form, and what :func:`lamda.fit` raises.

    Source: Distilling the Knowledge in a Neural Network, https://arxiv.org/abs/1503.02531,
    section 2.
    """
    models("distil", (teacher, student))
    teacher.require_closed()
    student.require_closed()
    _require_input(teacher, student)
    _require_numbers(alpha, temperature)
    if loss is None:
        _require_logits(teacher, student)
        loss = Softened(float(temperature))
    elif temperature != 1:
        raise errors.SpecError(errors.DISTIL_TEMPERATURE)
    if alpha:
        loss = Mixed(loss, label_loss or cross_entropy, float(alpha))
    elif label_loss is not None:
        raise errors.SpecError(errors.DISTIL_LABELS)
    shown = options.get("progress", True)
    examples = _examples(teacher, student, data, alpha > 0, shown)
    if eval is not None:
        options["eval"] = _examples(teacher, student, eval, alpha > 0, shown)
    return fit(student, examples, loss=loss, **options)


def _examples(
    teacher: Model, student: Model, data: Any, labelled: bool, shown: bool
) -> tuple[Any, Any]:
    """Inputs, and what the teacher gives for them; with labels, ``(output, label)``."""
    pair = data.arrays() if hasattr(data, "arrays") else data
    if not labelled:
        inputs = data if pair is data else pair[0]
        return inputs, _outputs(teacher, student, inputs, shown)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise errors.SpecError(errors.DISTIL_PAIR.format(given=type(data).__name__))
    inputs, labels = pair
    return inputs, (_outputs(teacher, student, inputs, shown), labels)


def _outputs(teacher: Model, student: Model, inputs: Any, shown: bool = False) -> Any:
    """What the teacher gives for every example, which is kept as that of any frozen part is."""
    count = _count(student, inputs)
    teacher.accept(types.typeof(inputs))
    taken = () if teacher.input is None else teacher.input
    # A teacher that takes so many examples and no others is given them all.
    if teacher.input is None or any(isinstance(n.shape[0], int) for _, n in types.leaves(taken)):
        return _checked(teacher, teacher(inputs), count)
    some = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), inputs)
    _checked(teacher, jax.eval_shape(teacher, some), 1)
    examples = Examples(jax.tree.map(jnp.asarray, inputs), (), count, "")
    return features(teacher.program, teacher.environment, examples, shown)


def _count(student: Model, inputs: Any) -> int:
    """How many examples there are. Raises MismatchError where they are none that it takes."""
    given, wanted = types.typeof(inputs), student.require_input()
    counts = {leaf.shape[0] if leaf.shape else None for _, leaf in types.leaves(given)}
    if not Unifier().unify(given, wanted) or len(counts) != 1 or not all(counts):
        told = {"wanted": types.show(wanted), "given": types.show(given)}
        raise errors.MismatchError(errors.DISTIL_DATA.format(**told))
    return int(counts.pop() or 0)


def _checked(teacher: Model, found: Any, count: int) -> Any:
    """What a teacher gives for so many examples. Raises SpecError unless it is a row for each."""
    if any(leaf.shape[:1] != (count,) for leaf in jax.tree.leaves(found)):
        told = {"teacher": teacher, "count": count, "given": types.show(types.typeof(found))}
        raise errors.SpecError(errors.DISTIL_ROWS.format(**told))
    return found


def _require_input(teacher: Model, student: Model) -> None:
    """Raises MismatchError unless both take one type, whatever its dimensions are called."""
    given, wanted = teacher.input, student.require_input()
    unifier = Unifier()
    if given is not None and not unifier.unify(given, wanted):
        left, right = (check.Place(m.term, m.where) for m in (teacher, student))
        raise check.mismatch(errors.DISTIL_INPUT, unifier, (left, given), (right, wanted))


def _require_logits(teacher: Model, student: Model) -> None:
    """Raises MismatchError where what they give are no logits of the same classes."""
    known = [output for output in (teacher.output, student.output) if output is not None]
    shapes = [_shape(output) for output in known]
    fit_each = all(shape is not None for shape in shapes)
    if not fit_each or not all(Unifier().unify(shapes[0], shape) for shape in shapes[1:]):  # type: ignore[arg-type]
        told = {"given": types.show(teacher.output), "wanted": types.show(student.output)}
        text = errors.DISTIL_OUTPUT.format(teacher=teacher, student=student, **told)
        raise errors.MismatchError(text)


def _shape(output: Type) -> ArrayType | None:
    """The shape of logits, whatever they are kept in; ``None`` for what are none."""
    if not isinstance(output, ArrayType) or len(output.shape) < 2:
        return None
    floating = jnp.issubdtype(output.dtype, jnp.floating)
    return ArrayType("float32", output.shape) if floating else None


def _require_numbers(alpha: Any, temperature: Any) -> None:
    """Raises SpecError for a share or a temperature that is none."""
    if not _is_number(alpha) or not 0 <= alpha <= 1:
        told = {"what": "alpha", "range": "from 0 to 1"}
        raise errors.SpecError(errors.DISTIL_NUMBER.format(**told, given=alpha))
    if not _is_number(temperature) or temperature <= 0:
        told = {"what": "temperature", "range": "above 0"}
        raise errors.SpecError(errors.DISTIL_NUMBER.format(**told, given=temperature))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
