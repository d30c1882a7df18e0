"""A process that puts version after version, and says which are acknowledged.

``python writer.py MODE STORE ACK``: ``right``, or one that is broken on purpose.
"""

import os
import random
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path

MODES = ("right", "no_fsync", "no_directory_fsync", "in_place")


def broken(mode: str) -> None:
    """Break what this process does to the disk."""
    from lamda.store import index, keeping, refs

    real = os.fsync

    def files_alone(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            real(descriptor)

    def in_place(path: Path, data: bytes | Iterable[bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else b"".join(data))

    if mode == "no_fsync":
        os.fsync = lambda _: None
    elif mode == "no_directory_fsync":
        os.fsync = files_alone
        # On ext4 a flush commits the renames before it: an index after the ref would hide it.
        refs.Refs._tell = lambda _: None
    elif mode == "in_place":
        refs.write_file = index.write_file = keeping.write_file = in_place


def main(mode: str, root: str, ack: str) -> None:
    import jax
    import jax.numpy as jnp

    import lamda as lm

    broken(mode)
    weights = {"head": jnp.zeros(25_600), "body": jnp.zeros((300, 256))}
    model = lm.lift(lambda w, x: x + w["head"].sum() + w["body"].sum(), weights, input="float32[b]")
    store, number = lm.Store(root), 0
    while True:
        address = store.put(model, ref="m")
        number += 1
        Path(f"{ack}.new").write_text(f"{number} {address}")  # elsewhere: no power is cut there
        os.replace(f"{ack}.new", ack)
        time.sleep(random.random())
        moved = {"head": model.weights["head"] + 1, "body": model.weights["body"] + number % 2}
        model = lm.succ(model, jax.tree.map(jnp.asarray, moved))


if __name__ == "__main__":
    main(*sys.argv[1:4])
