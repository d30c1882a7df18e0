"""A disk whose power may be cut: an ext4 image on a loop device, in a btrfs with snapshots."""

import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".cache" / "btrfs-progs"


def run(*command: str | Path, good: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode not in good:
        raise OSError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")


def mkfs() -> Path:
    """The command mkfs.btrfs: of this machine, or fetched into ``.cache``."""
    if (found := shutil.which("mkfs.btrfs")) is not None:
        return Path(found)
    if not (known := sorted(CACHE.rglob("mkfs.btrfs"))):
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["apt-get", "download", "btrfs-progs"], cwd=CACHE, check=True, capture_output=True
        )
        run("dpkg-deb", "-x", next(CACHE.glob("*.deb")), CACHE)
        known = sorted(CACHE.rglob("mkfs.btrfs"))
    return known[0]


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """An image, mounted on a loop device."""
    at.mkdir(exist_ok=True)
    run("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        gc.collect()  # memory maps of files on it
        if subprocess.run(["umount", str(at)], capture_output=True).returncode:
            run("umount", "--lazy", at)


@contextmanager
def host(folder: Path) -> Iterator[Path]:
    """A btrfs; skips where this machine has none, or refuses loop devices."""
    image = folder / "host.img"
    with open(image, "wb") as file:
        os.truncate(file.fileno(), 3 << 30)
    try:
        run(mkfs(), "-q", "-f", image)
        (folder / "host").mkdir()
        run("mount", "-o", "loop", image, folder / "host")
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        pytest.skip(f"no power can be cut here, for loop devices or btrfs are refused: {error}")
    try:
        yield folder / "host"
    finally:
        gc.collect()
        run("umount", folder / "host")


def ext4(folder: Path) -> Path:
    """An image of a new ext4."""
    image = folder / "inner.img"
    with open(image, "wb") as file:
        os.truncate(file.fileno(), 512 << 20)
    run("mkfs.ext4", "-q", "-F", image)
    return image


def snapshot(image: Path) -> Path:
    """What is on the disk at this moment, as a power cut would leave it; repaired as at boot."""
    taken = image.with_name("snapshot.img")
    taken.unlink(missing_ok=True)
    run("cp", "--reflink=always", image, taken)
    run("e2fsck", "-p", taken, good=(0, 1))
    return taken
