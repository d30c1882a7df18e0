"""Another process: a Python that knows nothing of this one, and has another PYTHONHASHSEED."""

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

_CODE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import lamda as lm
for line in sys.stdin:
    path, sources = json.loads(line)
    store, addresses = lm.Store(path), []
    for source in sources:
        made = {}
        exec(source, made)
        addresses.append(store.put(made["model"]))
    print(json.dumps(addresses), flush=True)
"""


def put(sources: list[str], path: str) -> list[str]:
    """The addresses of models that another process made of their sources, and put in a store.

    Each source is Python that binds ``model``. The process is started once, and ends with this one.
    Raises RuntimeError, with what it said, where it dies.
    """
    process = _started()
    assert process.stdin is not None and process.stdout is not None
    print(json.dumps([path, sources]), file=process.stdin, flush=True)
    answer: Any = process.stdout.readline()
    if not answer:
        _started.cache_clear()
        raise RuntimeError(f"the other process ended with {process.wait()}")
    return json.loads(answer)


@cache
def _started() -> subprocess.Popen[str]:
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(_ended, process)
    return process


def _ended(process: "subprocess.Popen[str]") -> None:
    """Let it end, which it does when nothing more can come."""
    with process:
        process.kill()
