"""Jobs in a process of their own: a plugin that dies there is an exception here.

Nor do the XLA of a plugin and that of jaxlib ever share a process. A module that takes jobs is run
as `python -m MODULE JOB.json`, and prints one line of JSON: what it has to say.
"""

from __future__ import annotations

import json
import os
import sys

from serve.errors import PluginError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# A program is compiled for a TPU that need not be here: libtpu is not to ask the network where it
# is, nor to keep others from loading it, as JAX in the process that asks may have.
LIBTPU = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def ask(module: str, folder: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """What a module says of a job, which is written to `folder`, or `{"error": ...}`."""
    from subprocess import run

    path = os.path.join(folder, "job.json")
    with open(path, "w") as file:
        json.dump(job, file)
    # -P: what lies in the folder that this process happens to be in is not ours.
    command = [sys.executable, "-P", "-m", module, path]
    done = run(command, capture_output=True, text=True, env=_environment(), check=False)
    said = _said(done.stdout)
    if done.returncode == 0 and said:
        return said
    return {"error": said.get("error") or _died(done.returncode, done.stderr)}


def answer(work: Callable[[Any], dict[str, Any]], path: str) -> int:
    """Print what `work` says of the job at a path; 1 where it raises PluginError."""
    with open(path) as file:
        job = json.load(file)
    try:
        said = work(job)
    except PluginError as error:
        print(json.dumps({"error": str(error)}))
        return 1
    print(json.dumps(said), flush=True)
    os._exit(0)  # a plugin that has done its work may still fail while it is taken down


def _environment() -> dict[str, str]:
    """The child finds this serve, whatever else is on the path."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment = {**LIBTPU, **environment}
    paths = [ROOT, environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _said(output: str) -> dict[str, Any]:
    """The last line, since a plugin may print others."""
    try:
        return dict(json.loads(output.strip().rpartition("\n")[2]))
    except (ValueError, TypeError):
        return {}


def _died(code: int, stderr: str) -> str:
    how = f"the process died of signal {-code}" if code < 0 else f"the process ended with {code}"
    return f"{how}: {stderr.strip()[-500:]}"
