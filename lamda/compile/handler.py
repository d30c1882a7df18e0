"""Handlers in this process: the same pure function that a bundle deploys, run by JAX."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lamda import check, errors, types
from lamda.compile import manifest, program, stream
from lamda.compile.sizes import Given, combinations, promised
from lamda.model import Model
from serve.arrays import Array
from serve.handler import Handler as ServeHandler

TARGETS = ("cpu", "cuda", "rocm", "tpu")


class Handler:
    """A compiled model: ``handler(x)`` for arrays, ``handler(body, content_type)`` for requests.

    Requests are padded to the next size that is compiled, and cut back: along the batch, and where
    that was said to change nothing.
    """

    def __init__(self, model: Model, description: "Description", engine: "Engine") -> None:
        self.model = model
        self._input = description.type
        self._tree = jax.tree.structure(model.output, is_leaf=types.is_array)
        self._serve = ServeHandler(description, engine)

    def __call__(
        self, x: Any, content_type: str = "application/json", accept: str | None = None
    ) -> Any:
        """The model at ``x``: arrays for arrays, answer bytes for request bytes.

        Raises MismatchError for arrays of another type, ``serve.errors.RequestError`` for a
        request that is not one.
        """
        if isinstance(x, bytes | str):
            return self._serve(x, content_type, accept)  # type: ignore[call-overload]
        place = check.first(self.model.term, self.model.where)
        check.agree((check.INPUT, types.typeof(x)), (place, self._input))
        outputs = self._serve.run([_to_serve(leaf) for leaf in jax.tree.leaves(x)])
        return jax.tree.unflatten(self._tree, [_from_serve(a) for a in outputs])

    def __repr__(self) -> str:
        return f"<handler of {self.model!r}>"


class Description:
    """A manifest as ``serve`` takes it, without a directory behind it."""

    def __init__(self, entries: dict[str, Any], files: dict[str, bytes], type: types.Type) -> None:
        self.type = type
        self.name: str = entries["name"]
        self.address: str = entries["address"]
        self.pred: str | None = entries["pred"]
        self.input: dict[str, Any] = entries["input"]
        self.output: dict[str, Any] = entries["output"]
        self.batch: str | None = entries["batch"]
        self.sizes: dict[str, list[int]] = entries["sizes"]
        self.text: dict[str, Any] | None = entries["text"]
        self.padded: list[str] = entries.get("padded", [])
        self.example: Any = entries["example"]
        self.programs: list[dict[str, Any]] = entries["programs"]
        self.stream: dict[str, Any] | None = entries.get("stream")
        self._files = files

    def content(self, file: dict[str, Any]) -> bytes:
        """The bytes of a FILE."""
        return self._files[file["digest"]]


class Engine:
    """Runs the programs of a model by JAX, as ``serve.runtime`` runs those of a bundle."""

    way = "jax"
    why = "compiled in this process"
    notes: tuple[str, ...] = ()

    def __init__(
        self, model: Model, sizes: Sequence[dict[str, int]], target: str, roll: bool | None = None
    ) -> None:
        device = _device(target)
        whole = program.of(model, roll)
        self._weights = [jax.device_put(_stacked(a), device) for a in whole.arguments]
        made = [whole.at(chosen) for chosen in sizes]
        self._inputs = [structure.inputs() for structure in made]
        self._programs = [program.executable(structure, device) for structure in made]

    def __call__(
        self, index: int, inputs: Sequence[bytes]
    ) -> list[tuple[str, tuple[int, ...], bytes]]:
        """The (dtype, shape, data) of every output leaf."""
        arrays = [
            np.frombuffer(data, leaf.dtype).reshape(leaf.shape)
            for data, leaf in zip(inputs, self._inputs[index], strict=True)
        ]
        outputs = self._programs[index](*self._weights, *arrays)
        return [(o.dtype.name, o.shape, np.asarray(o).tobytes()) for o in outputs]


def compile(
    model: Model,
    *,
    batch: Given = None,
    target: str = "cpu",
    padded: str | Sequence[str] = (),
    tokenizer: str | Path | bytes | None = None,
    roll: bool | None = None,
    **sizes: Given,
) -> Handler:
    """``compile(m)(x)`` is ``m(x)``, ahead of time: one executable for each combination of sizes.

    ``batch`` are the sizes of the batch dimension, 1 if not said; every other free dimension is
    given by its name: ``compile(encoder, batch=(1, 8, 32), t=128)``. A request may have any batch,
    and those sizes of the others: ``padded="t"`` says that zeros after the values change nothing
    along ``t``, so that any smaller size is taken too. Texts with a mask need not say so.
    ``target`` is ``"cpu"``, ``"cuda"``, ``"rocm"`` or ``"tpu"``. With ``tokenizer``, the path or
    bytes of a ``tokenizer.json``, requests may be text. Runs of six and more blocks of one
    structure become one scanned body, which compiles faster; ``roll=False`` writes every block
    out, ``roll=True`` rolls from two blocks on.

    >>> import jax.numpy as jnp, lamda as lm
    >>> double = lm.lift(lambda x: x * 2, input="float32[b, 2]", name="double")
    >>> handler = compile(double, batch=(1, 4))
    >>> handler(jnp.ones((3, 2))).shape, handler(b"[[1, 2.5]]")
    ((3, 2), b'[[2,5]]')

    Raises SpecError for sizes that are missing or unknown, OpenError for an open model.
    """
    streamed = stream.find(model)
    numbers = stream.resolve(model, streamed, batch, sizes)
    files: dict[str, bytes] = {}
    text = None
    if tokenizer is not None:
        data = tokenizer if isinstance(tokenizer, bytes) else Path(tokenizer).read_bytes()
        file = {"path": "tokenizer.json", "digest": "sha256:tokenizer", "size": len(data)}
        files[file["digest"]] = data
        text = manifest.text(model, file, numbers, None)
    chosen = combinations(numbers)
    entries = manifest.describe(model, str(model), numbers, text)
    entries["programs"] = [{"sizes": s} for s in chosen]
    entries["padded"] = promised(model, padded, numbers)
    if streamed is not None and streamed.axis is not None:
        entries["stream"] = {"scan": streamed.axis}
    description = Description(entries, files, model.require_input())
    return Handler(model, description, Engine(model, chosen, target, roll))


def _stacked(argument: program.Argument) -> Any:
    """The array of an argument; stacked once, where the handler is made."""
    arrays = [tensor.array for tensor in argument.tensors]
    return arrays[0] if len(arrays) == 1 else np.stack([np.asarray(a) for a in arrays])


def _device(target: str) -> Any:
    if target not in TARGETS:
        known = ", ".join(TARGETS)
        raise errors.SpecError(errors.UNKNOWN_TARGET.format(given=target, known=known))
    try:
        return jax.local_devices(backend=target)[0]
    except RuntimeError as error:
        raise errors.SpecError(errors.NO_DEVICE.format(target=target, error=error)) from None


def _to_serve(leaf: Any) -> Array:
    array = np.asarray(leaf)
    return Array(array.dtype.name, array.shape, array.tobytes())


def _from_serve(a: Array) -> jax.Array:
    return jax.numpy.asarray(np.frombuffer(a.data, jax.numpy.dtype(a.dtype)).reshape(a.shape))
