"""Make small real bundles with jax.export alone, by docs/bundle.md, without lamda.

    make.bundle(directory, fn, weights, input=TYPE, output=TYPE, sizes={"b": [1, 4]}, batch="b")

`fn(weights, x)` takes a list of arrays and a value of the input type. `make.add_one(directory)`,
`make.dense(directory)` and `make.pair(directory)` write three small ones, and take the same
keywords to change something. `make.python` runs a script in a fresh process.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from serve.runtime import build, machine, plugins

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ALIGNMENT = 64
Type = dict[str, Any]


def array(dtype: str, *dims: int | str) -> Type:
    """The type of one array."""
    return {"array": [dtype, list(dims)]}


def add_one(directory: Any, **changes: Any) -> str:
    """x -> x + 1 on float32 ["b", 3], without weights."""
    return bundle(directory, lambda _, x: x + 1, [], **{
        "input": array("float32", "b", 3), "output": array("float32", "b", 3),
        "sizes": {"b": [1, 4]}, "batch": "b", "example": [[1.0, 2.0, 3.0]], "name": "add_one",
    } | changes)  # fmt: skip


def dense_weights() -> list[np.ndarray]:
    """The kernel (3, 2), the bias (2,), a scalar and an empty tensor of `dense`."""
    kernel = np.arange(6, dtype=np.float32).reshape(3, 2) / 8
    return [
        kernel,
        np.array([0.5, -0.5], np.float32),
        np.array(2, np.float32),
        np.zeros((0, 2), np.float32),
    ]


def dense(directory: Any, **changes: Any) -> str:
    """x -> scale * (x @ kernel + bias) on float32 ["b", 3]."""

    def fn(weights: list[Any], x: Any) -> Any:
        kernel, bias, scale, empty = weights
        return scale * (x @ kernel + bias) + empty.sum()

    return bundle(directory, fn, dense_weights(), **{
        "input": array("float32", "b", 3), "output": array("float32", "b", 2),
        "sizes": {"b": [1, 4]}, "batch": "b", "example": [[1.0, 2.0, 3.0]], "name": "dense",
    } | changes)  # fmt: skip


def pair(directory: Any, **changes: Any) -> str:
    """{"ids": int32 ["b", "t"], "mask": bool ["b", "t"]} -> the count and the sum of the ids kept.

    The answer is {"count": int32 ["b"], "kept": int32 ["b", "t"], "sum": bfloat16 []}.
    """

    def fn(_: list[Any], x: dict[str, Any]) -> Any:
        kept = jnp.where(x["mask"], x["ids"], 0)
        total = kept.sum().astype(jnp.bfloat16)
        return {"count": x["mask"].sum(axis=1, dtype=jnp.int32), "kept": kept, "sum": total}

    return bundle(directory, fn, [], **{
        "input": {"dict": {
            "ids": array("int32", "b", "t"), "mask": array("bool", "b", "t"),
        }},
        "output": {"dict": {
            "count": array("int32", "b"), "kept": array("int32", "b", "t"),
            "sum": array("bfloat16"),
        }},
        "sizes": {"b": [1, 2], "t": [4]}, "batch": "b", "name": "pair",
        "example": {"ids": [[1, 2]], "mask": [[True, True]]},
    } | changes)  # fmt: skip


def bundle(
    directory: Any,
    fn: Callable[[list[Any], Any], Any],
    weights: Sequence[np.ndarray],
    *,
    input: Type,
    output: Type,
    sizes: dict[str, list[int]],
    batch: str | None = None,
    example: Any = None,
    name: str = "test",
    pred: str | None = None,
    text: dict[str, Any] | None = None,
    tokenizer: bytes | None = None,
    executables: bool = True,
) -> str:
    """Write a bundle of `fn`; with `executables`, compiled for the plugin that is found here.

    `text` is the manifest's text without its tokenizer, whose bytes are `tokenizer`.
    """
    directory = os.fspath(directory)
    packs, tensors = _pack(directory, weights)
    programs = [
        _program(directory, fn, weights, input, dict(zip(sizes, combination, strict=True)),
                 executables)
        for combination in itertools.product(*sizes.values())
    ]  # fmt: skip
    if text is not None:
        text = {**text, "tokenizer": put(directory, "files", "", tokenizer or b"{}")}
    write(directory, {
        "format": "lamda.bundle/1", "name": name, "address": address(name), "pred": pred,
        "input": input, "output": output, "batch": batch, "sizes": sizes, "example": example,
        "text": text, "weights": {"packs": packs, "tensors": tensors}, "programs": programs,
        "provenance": {"jax": jax.__version__},
    })  # fmt: skip
    return directory


def address(of: str) -> str:
    """An address, of a string."""
    return "sha256:" + hashlib.sha256(of.encode()).hexdigest()


def read(directory: str) -> dict[str, Any]:
    """The manifest of a bundle."""
    with open(os.path.join(directory, "manifest.json"), "rb") as file:
        return json.load(file)


def write(directory: str, manifest: Any) -> None:
    """Replace the manifest of a bundle, as canonical JSON."""
    with open(os.path.join(directory, "manifest.json"), "w") as file:
        json.dump(manifest, file, sort_keys=True, separators=(",", ":"), allow_nan=False)


def put(directory: str, folder: str, suffix: str, data: bytes) -> dict[str, Any]:
    """Write a file named by its digest, and return its FILE."""
    digest = hashlib.sha256(data).hexdigest()
    path = f"{folder}/{digest}{suffix}"
    os.makedirs(os.path.join(directory, folder), exist_ok=True)
    with open(os.path.join(directory, path), "wb") as file:
        file.write(data)
    return {"path": path, "digest": f"sha256:{digest}", "size": len(data)}


def python(script: str, *arguments: str, bare: bool = False, **environment: str | None) -> Any:
    """Run a script in a fresh process; the JSON that it printed last.

    It sees this repository and, unless `bare`, the packages installed here. A variable that is
    None is unset.
    """
    changed = {**os.environ, "PYTHONPATH": ROOT, **environment}
    done = subprocess.run(
        [sys.executable, *(["-S"] if bare else []), "-c", script, *arguments],
        env={key: value for key, value in changed.items() if value is not None},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def _pack(directory: str, weights: Sequence[np.ndarray]) -> tuple[list[Any], list[Any]]:
    """All tensors in one pack, each at a multiple of 64."""
    data, tensors = b"", []
    for weight in weights:
        data += bytes(-len(data) % ALIGNMENT)
        tensors.append({
            "dtype": str(weight.dtype), "shape": list(weight.shape), "pack": 0,
            "offset": len(data), "size": weight.nbytes,
        })  # fmt: skip
        data += weight.tobytes()
    return ([put(directory, "weights", ".bin", data)] if weights else []), tensors


def _program(
    directory: str, fn: Any, weights: Sequence[np.ndarray], input: Type, sizes: dict[str, int],
    executables: bool,
) -> dict[str, Any]:  # fmt: skip
    held = [jax.ShapeDtypeStruct(weight.shape, weight.dtype) for weight in weights]
    exported = export.export(jax.jit(fn, keep_unused=True))(held, _abstract(input, sizes))
    stablehlo = exported.mlir_module_serialized
    made = []
    if executables:
        plugin = plugins.find()
        assert plugin is not None, "install a plugin: pip install --no-deps lammps-jax-pjrt-cpu"
        built = build.compile_program(stablehlo, plugin)
        here = machine.here()
        made = [{
            "file": put(directory, "executables", ".pjrt", built.executable),
            "target": "cpu:native", "platform": built.said["platform"],
            "plugin": {"digest": plugin.digest, "version": built.said["version"]},
            "machine": {"arch": here.arch, "features": here.features},
            "device": built.said["device"],
        }]  # fmt: skip
    file = put(directory, "programs", ".mlir", stablehlo)
    return {"sizes": sizes, "stablehlo": file, "executables": made}


def _abstract(type_: Type, sizes: dict[str, int]) -> Any:
    """A type at given sizes, as jax writes it."""
    if "tuple" in type_:
        return tuple(_abstract(part, sizes) for part in type_["tuple"])
    if "dict" in type_:
        return {key: _abstract(part, sizes) for key, part in type_["dict"].items()}
    dtype, dims = type_["array"]
    return jax.ShapeDtypeStruct([sizes.get(dim, dim) for dim in dims], jnp.dtype(dtype))
