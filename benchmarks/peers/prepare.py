"""Everything that the peers read, made as `make` would: where it is missing or out of date.

    python benchmarks/peers/prepare.py [NAME ...]

Under `.cache/peers/models/NAME`: weights, inputs, the answer that all must give, bundles, and the
model in the form of each peer. `bundle` is what `lm.bundle` makes by itself; `native` is for this
processor alone, `rolled` has the layers as one scanned body, and `unrolled` writes them out.
"""

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "examples"), str(HERE.parent)]

import data  # noqa: E402
import jax  # noqa: E402
import minilm  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental.serialize_executable import serialize  # noqa: E402

import lamda as lm  # noqa: E402
from peers import environments, functions, models, weights  # noqa: E402


def numbers(name: str) -> dict[str, Any]:
    """The weights of a model; those of MiniLM are the real ones."""
    if name == "minilm":
        return minilm.load(data.minilm_files().safetensors)
    draw = np.random.default_rng(0)
    kernel = lambda: draw.standard_normal((512, 512), np.float32) * (2 / 512) ** 0.5  # noqa: E731
    bias = lambda: draw.standard_normal(512, np.float32) / 10  # noqa: E731
    return {str(i): {"kernel": kernel(), "bias": bias()} for i in range(8 * (name == "mlp"))}


def model(name: str, w: dict[str, Any]) -> lm.Model:
    """The model as one would write it: MiniLM is lifted whole, from `examples/minilm.py`."""
    input = models.TYPES[name]
    if name == "mlp":
        layers = [lm.lift(functions.dense, w[i], input="float32[b, 512]") for i in sorted(w)]
        return lm.compose(*layers)
    return lm.lift(functions.FUNCTIONS[name], w, input=input, name=name)


def layered(name: str, w: dict[str, Any]) -> lm.Model:
    """The same function as a composition of its layers."""
    if name != "minilm":
        return model(name, w)
    layer = [jax.tree.map(lambda a, i=i: a[i], w["layers"]) for i in range(minilm.LAYERS)]
    between = {"hidden": "float32[b, 128, 384]", "mask": "int32[b, 128]"}
    return lm.compose(
        lm.lift(functions.embed, w["embeddings"], input=models.TYPES[name]),
        *(lm.lift(functions.block, each, input=between) for each in layer),
        lm.lift(functions.pool, input=between),
    )


def prepare(name: str) -> None:
    """Make all of one model."""
    folder = models.CACHE / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    w = numbers(name)
    weights.write(str(folder), w)
    cases = [models.case(name, batch) for batch in models.BATCHES]
    for case in cases:
        _inputs(case)
        _jax(case, weights.read(str(folder)))
    lm.bundle(model(name, w), folder / "bundle", name=name, batch=models.BATCHES)
    if name == "add_one":
        return
    native = partial(lm.bundle, name=name, batch=models.BATCHES, targets=["cpu:native"])
    native(model(name, w), folder / "native")
    for way in (True, False):
        made = folder / ("rolled" if way else "unrolled")
        lm.bundle(layered(name, w), made, name=name, batch=models.BATCHES, roll=way)
    _convert(folder, "onnx", "to_onnx.py", "onnx")
    _convert(folder, "tensorflow", "to_tflite.py", "tflite")
    optimise = HERE / "with_onnxruntime.py"
    for case in cases:
        target, source = folder / f"b{case.batch}.optimised.onnx", folder / f"b{case.batch}.onnx"
        if _outdated([target], [source, optimise]):
            command = [environments.python("onnxruntime"), optimise, folder, str(case.batch)]
            _run([*command, case.spec, "save"])


def heavy() -> None:
    """A bundle with 1 GiB of weights, of which a program reads sixteen numbers."""
    folder = models.CACHE / "models" / models.HEAVY / "bundle"
    sources = [HERE / "prepare.py", models.ROOT / "docs" / "bundle.md"]
    if not _outdated([folder / "manifest.json"], sources):
        return
    w = {f"t{i:02}": np.full((1 << 30) // 16 // 4, i, np.float32) for i in range(16)}

    def first(w: Any, x: jax.Array) -> jax.Array:
        return x + sum(each[0] for each in w.values())

    lm.bundle(lm.lift(first, w, input="float32[b]"), folder, name="heavy", batch=1)


def _inputs(case: models.Case) -> None:
    for name, array in case.inputs.items():
        (case.folder / f"b{case.batch}.{name}.bin").write_bytes(array.tobytes())
    lists = {name: array.tolist() for name, array in case.inputs.items()}
    body = json.dumps(lists.get("x", lists))
    (case.folder / f"b{case.batch}.json").write_text(body)


def _jax(case: models.Case, w: dict[str, Any]) -> None:
    """The answer of plain JAX, and its executable."""
    function = jax.jit(functions.FUNCTIONS[case.name])
    compiled = function.lower(w, case.inputs.get("x", case.inputs)).compile()
    answer = compiled(jax.device_put(w), case.inputs.get("x", case.inputs))
    np.save(case.folder / f"b{case.batch}.answer.npy", np.asarray(answer))
    (case.folder / f"b{case.batch}.jax").write_bytes(pickle.dumps(serialize(compiled)))


def _convert(folder: Path, environment: str, script: str, suffix: str) -> None:
    targets = [folder / f"b{batch}.{suffix}" for batch in models.BATCHES]
    if _outdated(targets, [folder / "weights.bin", HERE / script]):
        print(f"{folder.name}: {script}", file=sys.stderr, flush=True)
        batches = map(str, models.BATCHES)
        _run([environments.python(environment), HERE / script, folder, *batches])


def _outdated(targets: Sequence[Path], sources: Sequence[Path]) -> bool:
    newest = max(source.stat().st_mtime for source in sources)
    return any(not each.exists() or each.stat().st_mtime < newest for each in targets)


def _run(command: Sequence[Any]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[1]} failed:\n{done.stderr.decode()[-3000:]}")


if __name__ == "__main__":
    for each in sys.argv[1:] or [*models.INPUTS, models.HEAVY]:
        heavy() if each == models.HEAVY else prepare(each)
