"""The walls of the house: who may import whom, seen in fresh processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


SERVE = [
    "serve", "serve.__main__", "serve.aws", "serve.aws.loop", "serve.aws.s3", "serve.aws.streaming",
    "serve.azure", "serve.body.codec", "serve.bundle", "serve.cloudevents", "serve.container",
    "serve.feedback", "serve.fork", "serve.gcp", "serve.handler", "serve.http", "serve.http.asgi",
    "serve.http.connection", "serve.http.protocol", "serve.http.routes", "serve.http.server",
    "serve.knative", "serve.openwhisk", "serve.ray", "serve.runtime.build", "serve.runtime.device",
    "serve.runtime.engine", "serve.runtime.topology", "serve.sagemaker", "serve.stream.blocking",
    "serve.stream.http", "serve.stream.talk", "serve.v2.rest", "serve.wsgi",
]  # fmt: skip


@pytest.mark.parametrize("module", SERVE)
def test_serve_imports_neither_jax_nor_lamda_nor_numpy(module):
    loaded = modules_after(f"import {module}")
    assert module in loaded
    assert not loaded & {"jax", "jaxlib", "lamda", "numpy", "flax"}


# An arrow goes from each room only to rooms that stand later in its list.
ROOMS = {
    "lamda": (
        "testing", "fit", "deploy", "compile", "store", "data", "sign", "merge", "diff", "table",
        "draw", "abstraction", "lift", "surgery", "rebuild", "combinators", "versions", "pytree",
        "close", "model", "tree", "receipt", "roll", "evaluate", "address", "normal", "steps",
        "uses", "check", "unify", "term", "kinds", "kind", "rolled", "function", "digest",
        "program", "purity", "outside", "tensor", "types", "dims", "errors",
    ),
    "serve": (
        "aws", "azure", "gcp", "knative", "openwhisk", "ray", "sagemaker", "wsgi", "cloudevents",
        "fork", "stream", "v2", "http", "handler", "feedback", "batching", "runtime", "watch",
        "body", "bundle", "start", "settings", "deadline", "container", "log", "types", "arrays",
        "trace", "errors",
    ),
}  # fmt: skip
DOORS = ("__init__", "__main__", "cli")  # they lead to every room


@pytest.mark.parametrize("house", ROOMS)
def test_arrows_go_one_way(house):
    root, rooms = Path(__file__).parents[1] / house, ROOMS[house]
    for file in root.rglob("*.py"):
        room = file.relative_to(root).parts[0].removesuffix(".py")
        if room in DOORS:
            continue
        # What is imported inside of a function is a convenience and no arrow: the operators.
        text = file.read_text()
        found = re.findall(rf"^from {house}\.(\w+)", text, re.M)
        for line in re.findall(rf"^from {house} import (.+)$", text, re.M):
            names = (name.split(" as ")[0].strip() for name in line.strip("()").split(","))
            found += [name for name in names if name]
        for other in found:
            assert other == room or rooms.index(other) > rooms.index(room), f"{file}: {other}"


def test_lamda_imports_no_extra():
    loaded = modules_after("import lamda")
    # JAX itself imports cloudpickle where it is installed.
    extras = {
        "hypothesis",
        "pytest",
        "flax",
        "optax",
        "tqdm",
        "tokenizers",
        "uvicorn",
        "safetensors",
        "obstore",
        "orbax",
    }
    assert not loaded & extras


def test_flax_is_not_imported_to_lift_a_function():
    code = "import lamda as lm; lm.lift(lambda x: x, input='float32[b]')"
    assert "flax" not in modules_after(code)


@pytest.mark.parametrize("module", ["lamda_hooks.pytest", "lamda_hooks.hypothesis"])
def test_what_other_tools_load_imports_neither_jax_nor_lamda(module):
    loaded = modules_after(f"import {module}")
    assert module in loaded
    assert not loaded & {"jax", "jaxlib", "lamda", "numpy", "hypothesis"}
