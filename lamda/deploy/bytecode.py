"""Bytecode of a package, so that a function whose files can not be written compiles nothing.

It is for the minor version of the Python that runs this; any other passes it over.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def bytecode(files: Mapping[str, Path], scratch: Path) -> dict[str, Path]:
    """The bytecode of the modules among some files, written into an empty directory.

    Python does not look whether a module has changed since, and the bytes depend on nothing else.
    """
    for name, path in files.items():
        if name.endswith(".py"):
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    # In a process of its own: constants are written as shared as the process has them.
    subprocess.run(
        [sys.executable, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
         "-s", scratch, scratch],
        env=os.environ | {"PYTHONHASHSEED": "0"}, check=True,
    )  # fmt: skip
    made = sorted(scratch.rglob("*.pyc"))
    return {path.relative_to(scratch).as_posix(): path for path in made}
