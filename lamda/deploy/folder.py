"""The folder that is written for a platform, and the templates that it is written from."""

import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from string import Template

from lamda.deploy import archive
from lamda.deploy.archive import Content
from lamda.deploy.function import Function

TEMPLATES = Path(__file__).with_name("templates")
LARGE = 1 << 20
IGNORED = "*\n!app\n!requirements.txt\n"


class Folder:
    """Files for one function; `names` are those that were written, and folders of them."""

    def __init__(self, root: Path, scratch: Path, function: Function) -> None:
        self.root = root
        self.scratch = scratch
        """A directory that is gone when the folder is in its place."""
        self.names: list[str] = []
        self._values = function.values
        root.mkdir()

    def text(self, template: str, **more: str) -> str:
        """A template, filled with what is known of the function."""
        source = (TEMPLATES / template).read_text()
        return Template(source).substitute(self._values | more)

    def render(self, template: str, name: str | None = None, **more: str) -> None:
        """Write a template, by its own name or another."""
        name = name or template.rpartition("/")[2].removesuffix(".tmpl")
        self.write(name, self.text(template, **more))

    def write(self, name: str, text: str) -> None:
        """Write a file of text."""
        path = self.root / name
        path.write_text(text)
        path.chmod(0o644)
        self.names.append(name)

    def zip(self, name: str, files: Mapping[str, Content], runnable: Collection[str] = ()) -> Path:
        """Write a zip."""
        archive.write_zip(self.root / name, files, runnable)
        self.names.append(name)
        return self.root / name

    def tar(self, name: str, files: Mapping[str, Content]) -> None:
        """Write a tar.gz."""
        archive.write_tar(self.root / name, files)
        self.names.append(name)

    def place(self, files: Mapping[str, Path], under: str = "") -> None:
        """Copy files, into a folder or beside the others."""
        for name, source in files.items():
            target = self.root / under / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(source.resolve(), target)
        for path in (self.root / under, *(self.root / under).rglob("*/")):
            path.chmod(0o755)
        tops = [under] if under else sorted({name.partition("/")[0] for name in files})
        self.names += [f"{top}/" for top in tops]


def _copy(source: Path, target: Path) -> None:
    """A copy; of a large file a second name, where the file system has those.

    All may read it, whatever is usual here: an image keeps the modes, and runs as nobody.
    """
    found = source.stat()
    if found.st_size >= LARGE and found.st_mode & 0o004:
        with suppress(OSError):
            return os.link(source, target)
    # What is small, people edit, and a second name would have them edit what is installed.
    shutil.copyfile(source, target)
    target.chmod(0o644)
