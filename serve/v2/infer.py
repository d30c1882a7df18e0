"""`infer(handler, tensors, wanted)` is the outputs of the model by name: REST and gRPC alike."""

from __future__ import annotations

from serve.body.forms import JSON
from serve.body.lists import shown
from serve.errors import RequestError
from serve.v2.model import BYTES, TEXT, described, names, several, spoken_by
from serve.v2.tensors import array, elements, texts

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from serve.arrays import Array
    from serve.handler import Handler
    from serve.types import Leaf
    from serve.v2.tensors import Tensor

# What would change the answer, or where it goes, if it were obeyed: never silently ignored.
UNSUPPORTED = {
    "classification": "ask for the output, and rank it",
    "sequence_id": "send the state as an input: nothing is kept between requests",
    "shared_memory_region": "send the data in the request",
}


def infer(handler: Handler, tensors: Sequence[Tensor], wanted: Sequence[str]) -> dict[str, Array]:
    """The outputs by name, those that are wanted, in their order; none wanted are all of them.

    Raises:
        RequestError: a name, datatype, shape or number is not what the model takes.
    """
    outputs = names(handler.bundle.output, "output")
    for i, name in enumerate(wanted):
        if name not in outputs:
            raise RequestError(f"expected the outputs {_listed(outputs)}, got {shown(name)}")
        if name in wanted[:i]:
            raise RequestError(f"expected each output once, got {shown(name)} twice")
    answer = dict(zip(outputs, handler.run(_leaves(handler, tensors)), strict=True))
    return {name: answer[name] for name in wanted or outputs}


def supported(parameters: Mapping[str, Any]) -> None:
    """Refuse the parameters that are known and can not be obeyed; others mean nothing here.

    Raises:
        RequestError: there is one.
    """
    for name, instead in UNSUPPORTED.items():
        if parameters.get(name):
            raise RequestError(f'the parameter "{name}" is not supported: {instead}')


def _leaves(handler: Handler, tensors: Sequence[Tensor]) -> list[Array]:
    """The leaves of the input, in type order."""
    inputs = names(handler.bundle.input, "input")
    spoken = spoken_by(handler.bundle)
    if len(tensors) == 1 and tensors[0].name in spoken and _is_spoken(tensors[0], inputs):
        (one,) = tensors
        value = texts(one) if one.name == TEXT else elements(one)
        return handler._spoken({one.name: value}, JSON)
    given = {tensor.name: tensor for tensor in tensors}
    if len(tensors) != len(inputs) or given.keys() != inputs.keys():
        expected = ", or ".join((*map(several, spoken), _listed(inputs)))
        came = ", ".join(shown(tensor.name) for tensor in tensors[: len(inputs) + 1])
        raise RequestError(f"expected the inputs {expected}, each once, got {came or 'none'}")
    return [array(given[name], leaf) for name, leaf in inputs.items()]


def _is_spoken(tensor: Tensor, inputs: dict[str, Leaf]) -> bool:
    """Is this what stands for the input, rather than a leaf that is called so?"""
    return tensor.name not in inputs or tensor.datatype == BYTES


def _listed(tensors: dict[str, Leaf]) -> str:
    return ", ".join(described(name, leaf) for name, leaf in tensors.items())
