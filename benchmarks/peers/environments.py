"""A virtual environment for each peer, from its pinned requirements, made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from peers.models import CACHE

REQUIREMENTS = Path(__file__).parent / "requirements"


def python(name: str) -> str:
    """The interpreter of an environment, which is made where it is not there or is out of date."""
    wanted, place = REQUIREMENTS / f"{name}.txt", CACHE / name
    interpreter, stamp = place / "bin" / "python", place / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != wanted.read_bytes():
        print(f"installing {name} into {place}; once", file=sys.stderr, flush=True)
        # Nothing is in it but what the file names: setuptools would make each start 4 ms longer.
        venv = [sys.executable, "-m", "venv", "--clear", "--without-pip", place]
        subprocess.run(venv, check=True)
        command = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet"]
        command += ["--disable-pip-version-check", "--no-deps", "--requirement", wanted]
        subprocess.run(command, check=True)
        stamp.write_bytes(wanted.read_bytes())
    return str(interpreter)
