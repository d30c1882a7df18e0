"""The shim: built by a command, loaded only if it is what its name says, absent without harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import make
import pytest

from serve import bundle
from serve.runtime import engine, host, shim

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: apt install gcc")

ADD = """
import json, sys
from serve import bundle
from serve.runtime import engine, shim
shim.HERE = sys.argv[2]
made = engine.open(bundle.read(sys.argv[1]))
outputs = made(0, [bytes(12)])
found = shim.find()
program = made._program(0)
print(json.dumps([outputs[0][2].hex(), found.path, found.note, type(program._free[0]).__name__]))
"""
ONES = "0000803f" * 3


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMDA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return make.add_one(tmp_path_factory.mktemp("bundles") / "add_one")


@pytest.fixture(autouse=True)
def places(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the folder of the module nor the cache of the user."""
    (tmp_path / "module").mkdir()
    monkeypatch.setattr(shim, "HERE", str(tmp_path / "module"))
    monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAMDA_SHIM", raising=False)


def call(added: str) -> list[str]:
    """One call in a fresh process: the answer, the shim's path, the note, the kind of frame."""
    return make.python(ADD, added, shim.HERE)


def in_cache(monkeypatch: pytest.MonkeyPatch) -> str:
    """Build where the module's folder can not be written."""
    monkeypatch.setattr(shim, "HERE", "/proc/nowhere")
    return shim.build()


class TestBuilding:
    def test_beside_the_module(self, added: str) -> None:
        path = shim.build()
        assert os.path.dirname(path) == shim.HERE
        assert os.listdir(shim.HERE) == [os.path.basename(path)]
        assert call(added) == [ONES, path, "", "ShimFrame"]

    def test_in_the_cache(self, added: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        path = in_cache(monkeypatch)
        assert os.path.dirname(path) == str(tmp_path / "cache" / "shim")
        assert call(added) == [ONES, path, "", "ShimFrame"]

    def test_replaces_the_one_before_of_this_machine(self) -> None:
        here, there = f"shim-0123-{os.uname().machine}-4567.so", "shim-0123-vax-4567.so"
        for name in (here, there):
            with open(os.path.join(shim.HERE, name), "wb"):
                pass
        path = shim.build()
        assert sorted(os.listdir(shim.HERE)) == sorted([os.path.basename(path), there])
        assert shim.find().path == path

    def test_by_the_command(self, tmp_path: Any) -> None:
        """A copy of the package, so that nothing is written beside the real one."""
        shutil.copytree(os.path.join(make.ROOT, "serve"), tmp_path / "copy" / "serve")
        command = [sys.executable, "-m", "serve.runtime.shim"]
        run = {"capture_output": True, "text": True, "check": False, "cwd": tmp_path / "copy"}
        given = {**os.environ, "PYTHONPATH": str(tmp_path / "copy")}
        done = subprocess.run(command, env=given, **run)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        made = os.path.realpath(done.stdout.strip())
        assert os.path.dirname(made) == os.path.realpath(tmp_path / "copy/serve/runtime")
        failing = {**given, "CC": "false --really"}
        done = subprocess.run(command, env=failing, **run)  # type: ignore[call-overload]
        assert done.returncode == 1
        assert "serve.runtime.shim: false --really could not compile" in done.stderr

    def test_without_a_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setitem(sys.modules, "ziglang", None)
        with pytest.raises(OSError) as caught:
            shim.build()
        assert str(caught.value) == (
            "a C compiler is needed: expected one in $CC, or cc on the path, or the package "
            "ziglang: pip install 'lamda[shim]'"
        )

    def test_with_no_place_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shim, "HERE", "/proc/nowhere")
        monkeypatch.setenv("LAMDA_CACHE", "/proc/else")
        with pytest.raises(OSError) as caught:
            shim.build()
        assert str(caught.value) == (
            "neither /proc/nowhere nor /proc/else/shim can be written: "
            "set LAMDA_CACHE to a folder that can"
        )


class TestWhatIsNotLoaded:
    def refused(self, added: str, path: str, reason: str) -> None:
        note = f"The shim {path} was not loaded, so calls go through ctypes: {reason}."
        assert call(added) == [ONES, "", note, "HostFrame"]

    def test_absent(self, added: str) -> None:
        assert call(added) == [ONES, "", shim.ABSENT, "HostFrame"]
        assert shim.ABSENT == (
            "Calls go through ctypes: python -m serve.runtime.shim builds a shim, with which "
            "they cost a third less."
        )

    def test_deployed_without_its_source(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shim, "SOURCE", "/nowhere/shim.c")
        found = shim.find()
        assert (found.call, found.note) == (None, shim.ABSENT)

    def test_turned_off(self, added: str, monkeypatch: pytest.MonkeyPatch) -> None:
        shim.build()
        monkeypatch.setenv("LAMDA_SHIM", "0")
        assert call(added) == [ONES, "", "", "HostFrame"]

    def test_truncated(self, added: str) -> None:
        """Loading half a library can end the process: its bytes are looked at before."""
        path = shim.build()
        os.truncate(path, os.stat(path).st_size // 2)
        self.refused(added, path, shim.DAMAGED)

    def test_of_another_source(self, added: str) -> None:
        path = shim.build()
        start, _, rest = os.path.basename(path).partition("-")
        digest, _, rest = rest.partition("-")
        stale = os.path.join(shim.HERE, f"{start}-{digest[::-1]}-{rest}")
        os.rename(path, stale)
        self.refused(added, stale, shim.STALE)

    def test_of_another_machine(self, added: str) -> None:
        path = shim.build()
        other = path.replace(os.uname().machine, "vax")
        os.rename(path, other)
        self.refused(added, other, shim.STALE)

    def test_of_another_format(self, added: str) -> None:
        """Its name says all that it should, and the loader of the system refuses it."""
        data = b"\x7fELF of a vax"
        path = os.path.join(shim.HERE, f"{shim._start()}{shim._digest(data)}.so")
        with open(path, "wb") as file:
            file.write(data)
        self.refused(added, path, f"{path}: file too short")

    def test_without_the_function(self, added: str, tmp_path: Any) -> None:
        source = tmp_path / "other.c"
        source.write_text("int other(void) { return 0; }")
        shim._compile(str(source), str(tmp_path / "other.so"))
        data = (tmp_path / "other.so").read_bytes()
        path = os.path.join(shim.HERE, f"{shim._start()}{shim._digest(data)}.so")
        shutil.copy(tmp_path / "other.so", path)
        self.refused(added, path, f"{path}: undefined symbol: lamda_call")

    def test_in_a_cache_that_others_can_write(
        self, added: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = in_cache(monkeypatch)
        for place in (path, os.path.dirname(path)):
            mode = os.stat(place).st_mode
            os.chmod(place, mode | 0o020)
            self.refused(added, path, shim.FOREIGN)
            os.chmod(place, mode)
        assert call(added)[3] == "ShimFrame"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_in_a_cache_of_somebody_else(self, added: str, monkeypatch: pytest.MonkeyPatch) -> None:
        path = in_cache(monkeypatch)
        os.chown(path, 12345, -1)
        self.refused(added, path, shim.FOREIGN)


def test_the_frame_has_the_words_of_the_source(added: str) -> None:
    """The struct of shim.c, by its own declaration, against the array that stands for it."""
    shim.build()
    with open(shim.SOURCE) as file:
        body = file.read().split("struct frame {")[1].split("};")[0]
    lines = [line.split("/*")[0].strip().rstrip(";") for line in body.splitlines()]
    names = [
        name.strip(" *")
        for line in lines
        if line
        for name in line.removeprefix("function ").removeprefix("word ").split(",")
    ]
    names = [name.removeprefix("char **") for name in names]
    made = engine.open(bundle.read(added))
    made.warm()
    program: Any = made._program(0)
    frame = program._frame()
    assert isinstance(frame, host.ShimFrame)
    assert len(names) == len(frame._frame) == host.ERROR + 1
    assert names.index("error") == host.ERROR
    assert frame._frame[names.index("count")] == 1
    made.close()
