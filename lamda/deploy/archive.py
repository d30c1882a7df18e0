"""Archives whose bytes depend on nothing but what is in them: sorted, without clock or owner."""

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

Content = Path | bytes
FIRST = (1980, 1, 1, 0, 0, 0)  # the time of every file: zip knows none before
LEVEL = 1  # a plugin of 200 MB takes 5 s; the best level takes 25, for a tenth less


def write_zip(path: Path, files: Mapping[str, Content], runnable: Collection[str] = ()) -> None:
    """A zip of files by their names, of which some may be run."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, FIRST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, whose modes follow
            entry.external_attr = (0o100755 if name in runnable else 0o100644) << 16
            with archive.open(entry, "w", force_zip64=_size(content) >= 1 << 31) as target:
                if isinstance(content, bytes):
                    target.write(content)
                else:
                    with open(content, "rb") as source:
                        shutil.copyfileobj(source, target, 1 << 20)


def write_tar(path: Path, files: Mapping[str, Content]) -> None:
    """A tar.gz of files by their names."""
    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = _size(content)
            if isinstance(content, bytes):
                archive.addfile(entry, io.BytesIO(content))
            else:
                with open(content, "rb") as source:
                    archive.addfile(entry, source)


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
