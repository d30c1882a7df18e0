"""Every block of docs/store.md in its order, in one directory: programs, commands, the drawing."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import tools

from lamda.cli import main
from lamda.store import layout

PAGE = Path(__file__).parents[1] / "docs" / "store.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
BLOCKS = BLOCK.findall(PAGE.read_text())
REMOTE = "ghcr.io"


def shell(commands: str) -> str:
    """What the commands print; one that fails or warns is an error."""
    return "".join(map(command, commands.splitlines()))


def command(line: str) -> str:
    words = shlex.split(line, comments=True)
    if "|" not in words:  # here, which is quicker by the time that JAX takes to be imported
        assert words[0] == "lamda"
        return printed(lambda: main(words[1:]), line)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        capture_output=True, text=True, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), line
    return done.stdout


def printed(run: Callable[[], int | None], what: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run()
    assert (code or 0, err.getvalue()) == (0, ""), what
    return out.getvalue()


def python(code: str, scope: dict) -> str:
    return printed(lambda: exec(compile(code, str(PAGE), "exec"), scope), code)


def test_the_page_of_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {"__name__": "__main__"}
    ran = []
    with tools.registry(tmp_path / "registry") as host:
        said = ""
        for language, text in BLOCKS:
            if language == "python":
                said = python(text, scope)
            elif language == "sh":
                said = shell(text.replace(REMOTE, host))
            elif language == "":
                assert said.endswith(text)
                said = ""
            else:
                assert language == "text"
            ran.append(language)
    assert ran.count("sh") >= 6 and ran.count("python") >= 5
    assert {"lamda-store", "versions", "another", "copied"} <= {p.name for p in tmp_path.iterdir()}


def test_the_drawing_of_the_directory():
    (drawn,) = [text for language, text in BLOCKS if language == "text"]
    names = re.findall(r"^[├└]── ([\w.-]+)", drawn, re.M)
    assert sorted(names) == sorted({layout.FILE, *layout.PARTS})
