"""A call in one C function, where somebody has built it: it costs a third less.

    python -m serve.runtime.shim

compiles shim.c, with $CC or cc or the package ziglang, beside this module or, where that can not
be written, into the cache. Without it every call goes through ctypes, with the same answers, and
LAMDA_SHIM=0 turns it off.

The name of the library says what it is for and what is in it: the digest of its source, the
machine, and the digest of its bytes. So one that is stale, foreign or damaged is never loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys

from serve.runtime import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from serve.runtime.host import Call

VARIABLE = "LAMDA_SHIM"
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "shim.c")

ABSENT = (
    "Calls go through ctypes: python -m serve.runtime.shim builds a shim, with which they cost a "
    "third less."
)
REFUSED = "The shim {path} was not loaded, so calls go through ctypes: {reason}."
STALE = "it was built from another source or for another machine"
DAMAGED = "its bytes are not those that its name says"
FOREIGN = "others than this user own it, or can write it"
NO_COMPILER = (
    "a C compiler is needed: expected one in $CC, or cc on the path, or the package ziglang: "
    "pip install 'lamda[shim]'"
)
NOT_COMPILED = "{compiler} could not compile {source}: {said}"
NO_PLACE = "neither {folders} can be written: set LAMDA_CACHE to a folder that can"


class Shim:
    """The function of the library, or None and a note that says why."""

    __slots__ = ("call", "note", "path")

    def __init__(self, call: Call | None = None, note: str = "", path: str = "") -> None:
        self.call = call
        self.note = note
        self.path = path


def find() -> Shim:
    """The shim that was built for this source and this machine, if it is here."""
    if os.environ.get(VARIABLE) == "0":
        return Shim()
    try:
        note, start = ABSENT, _start()
    except OSError:  # deployed without the source
        return Shim(note=ABSENT)
    for folder in _folders():
        for name in _names(folder):
            path = os.path.join(folder, name)
            reason = _reason(path, name, start, beside=folder == HERE)
            if not reason:
                try:
                    library = ctypes.CDLL(path)
                    return Shim(ctypes.CFUNCTYPE(ctypes.c_int)(("lamda_call", library)), "", path)
                except (OSError, AttributeError) as error:
                    reason = str(error)
            note = REFUSED.format(path=path, reason=reason)
    return Shim(note=note)


def build() -> str:
    """Compile the shim, where it will be found; its path.

    Raises:
        OSError: there is no compiler, it fails, or there is no folder to write to.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="lamda-shim-") as scratch:
        made = os.path.join(scratch, "shim.so")
        _compile(SOURCE, made)
        with open(made, "rb") as file:
            data = file.read()
    name = f"{_start()}{_digest(data)}.so"
    for folder in _folders():
        if _write(folder, name, data):
            for old in _names(folder):
                if old != name and f"-{os.uname().machine}-" in old:
                    os.unlink(os.path.join(folder, old))
            return os.path.join(folder, name)
    raise OSError(NO_PLACE.format(folders=" nor ".join(_folders())))


def _folders() -> tuple[str, str]:
    return HERE, os.path.join(cache.directory(), "shim")


def _names(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(name for name in names if name.startswith("shim-") and name.endswith(".so"))


def _start() -> str:
    """What the name of a shim for this source and this machine begins with."""
    with open(SOURCE, "rb") as file:
        source = _digest(file.read())
    return f"shim-{source}-{os.uname().machine}-"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _reason(path: str, name: str, start: str, beside: bool) -> str:
    """Why a library must not be loaded; empty where it may."""
    if not name.startswith(start):
        return STALE
    try:
        # Beside this module it is as safe as the module.
        if not beside and not (_own(os.path.dirname(path)) and _own(path)):
            return FOREIGN
        with open(path, "rb") as file:
            found = _digest(file.read())
    except OSError as error:
        return str(error)
    return "" if name == f"{start}{found}.so" else DAMAGED


def _own(path: str) -> bool:
    status = os.stat(path)
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _write(folder: str, name: str, data: bytes) -> bool:
    path = os.path.join(folder, name)
    draft = f"{path}.{os.getpid()}.draft"
    try:
        for each in (os.path.dirname(folder), folder):  # the mode is that of the last one only
            os.makedirs(each, mode=0o700, exist_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755), "wb") as file:
            file.write(data)
        os.chmod(draft, 0o755)
        os.replace(draft, path)
    except OSError:
        return False
    return True


def _compile(source: str, target: str) -> None:
    from subprocess import run

    command = _compiler()
    flags = ["-std=c99", "-O2", "-fPIC", "-shared", source, "-o", target]
    done = run([*command, *flags], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip()[-500:]
        raise OSError(NOT_COMPILED.format(compiler=" ".join(command), source=source, said=said))


def _compiler() -> list[str]:
    from importlib.util import find_spec
    from shlex import split
    from shutil import which

    given = split(os.environ.get("CC", ""))
    if given or which("cc"):
        return given or ["cc"]
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise OSError(NO_COMPILER)


def main() -> int:
    """Run the command; the exit code."""
    try:
        print(build())
    except OSError as error:
        print(f"serve.runtime.shim: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
