"""What holds for every adapter: importing one costs little, and loading is told in the log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import make
import pytest

ADAPTERS = [
    "azure", "cloudevents", "container", "gcp", "knative", "openwhisk", "openwhisk.proxy", "ray",
    "sagemaker", "start",
]  # fmt: skip
SLOW = {"asyncio", "ctypes.util", "dataclasses", "http.client", "importlib.metadata", "typing"}
HEAVY = {"jax", "lamda", "numpy", "flask", "azure", "ray", "uvicorn", "cloudevents"}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_imports_neither_its_platform_nor_what_is_slow(name: str) -> None:
    code = f"import sys\nbefore = set(sys.modules)\nimport serve.{name}\n"
    code += "print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {make.ROOT!r})\n{code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert f"serve.{name}" in loaded
    assert not loaded & (SLOW | HEAVY)


@pytest.mark.parametrize("warm", [True, False])
def test_programs_are_loaded_before_the_first_request_unless_asked_not_to(
    tmp_path: Path, warm: bool
) -> None:
    script = """
import sys
from serve.start import load
handler = load("azure", sys.argv[1])
import shutil
shutil.rmtree(sys.argv[1] + "/executables")
shutil.rmtree(sys.argv[1] + "/programs")
print(handler(b"[[1,2,3]]"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, make.add_one(tmp_path / "bundle")],
        env={**os.environ, "PYTHONPATH": make.ROOT} | ({} if warm else {"LAMDA_WARM": "0"}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout == "b'[[2,3,4]]'\n") == (done.returncode == 0) == warm
    assert done.stderr.startswith('serve: started {"front": "azure", "name": "add_one"')
