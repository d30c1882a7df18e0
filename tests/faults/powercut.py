"""Power cuts: every version that was acknowledged is there, and the store is clean.

Three writers that are broken on purpose must fail: they test the test.
"""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import lamda as lm

HERE = Path(__file__).parent
SNAPSHOTS = int(os.environ.get("SNAPSHOTS", "30"))
A_DISK = 10
"""Snapshots, then a new disk."""


def _module(name):
    spec = importlib.util.spec_from_file_location(f"faults_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


disk = _module("disk")
MODES = _module("writer").MODES


@pytest.mark.parametrize("mode", MODES)
def test_power_cuts(mode, tmp_path, capsys):
    found: Counter[str] = Counter()
    with disk.host(tmp_path) as host:
        while found["snapshots"] < SNAPSHOTS:
            image = disk.ext4(host)
            with disk.mounted(image, tmp_path / "disk") as at:
                count = min(A_DISK, SNAPSHOTS - found["snapshots"])
                found += _round(mode, image, at, tmp_path, count)
    with capsys.disabled():
        print(f"\n{mode}: {dict(found)}")
    if mode == "right":
        assert found["failed"] == 0, found
    else:
        assert found["failed"] > 0, found


def _round(mode: str, image: Path, at: Path, tmp: Path, count: int) -> Counter[str]:
    """Snapshots of a disk while a writer writes."""
    ack = tmp / "ack"
    ack.unlink(missing_ok=True)
    writer = subprocess.Popen([sys.executable, HERE / "writer.py", mode, at / "store", ack])
    found: Counter[str] = Counter()
    number = "0"
    try:
        _wait(ack, writer)
        for _ in range(count):
            time.sleep(random.uniform(0.1, 1.0))
            number, address = ack.read_text().split()
            with disk.mounted(disk.snapshot(image), tmp / "after") as after:
                wrong = _wrong(after / "store", int(number), address)
            found.update(["snapshots", *wrong, *(["failed"] if wrong else [])])
        found["versions"] = int(number)
        return found
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()


def _wait(ack: Path, writer: subprocess.Popen) -> None:
    for _ in range(600):
        if ack.exists():
            return
        assert writer.poll() is None, "the writer ended"
        time.sleep(0.1)
    raise AssertionError("the writer wrote nothing in a minute")


def _wrong(root: Path, number: int, address: str) -> list[str]:
    """What is wrong with a store that had acknowledged ``number`` versions, the last of them."""
    try:
        store = lm.Store.open(root)
        log = [version.who for version in store.log("m")]
    except (lm.LamdaError, OSError):
        return ["unreadable"]
    wrong = []
    if address not in log or len(log) < number:
        wrong.append("lost")
    if not store.verify(deep=False).clean:
        wrong.append("not clean")
    return wrong
