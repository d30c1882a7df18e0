"""What tests of the store's care share: damage, and a campaign of processes."""

import json
import subprocess
import sys
from pathlib import Path

import jax

import lamda as lm


def moved(model):
    """A successor, whose trained weights are one more."""
    return lm.succ(model, jax.tree.map(lambda w: w + 1, model.weights))


def kept(store) -> dict[str, int]:
    """Every file of the blobs with its size."""
    return {p.name: p.stat().st_size for p in store.blobs.directory.iterdir()}


def tensors(store, ref: str) -> list[str]:
    """The blobs of the tensors of a version."""
    return sorted({t["blob"] for s in store.record(ref)["slots"] for t in s["tensors"]})


def hurt(store, blob: str) -> bytes:
    """Flip a bit of a blob; what it holds then."""
    path = store.blobs.path(blob)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return bytes(data)


WRITER = """
import sys, time, json, random
import jax.numpy as jnp, numpy as np
import lamda as lm
from store_faults import moved
from parts import dense
root, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
store, put = lm.Store(root), []
model, number = dense(4, 8, int(name), "f"), 0
lm.Store(root + name).put(moved(model))  # what is compiled once, is
print("ready", flush=True)
input()
end = time.monotonic() + seconds
try:
    while time.monotonic() < end:
        if put:
            model = moved(store.get("w" + name) if number % 2 else model)
        put.append(store.put(model, ref="w" + name))
        if number % 3 == 0:
            store.put(dense(4, 8, 1000 + number, "other"))
        try:
            store.put(moved(store.get("shared")), ref="shared")
        except lm.SuccessionError:
            pass
        number += 1
    print(json.dumps({"ref": "w" + name, "put": put, "error": None}))
except Exception as error:
    print(json.dumps({"ref": "w" + name, "put": put, "error": repr(error)}))
"""

OTHER = """
import sys, time, json
import lamda as lm
root, what, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
store, count, error = lm.Store(root), 0, None
print("ready", flush=True)
input()
end = time.monotonic() + seconds
try:
    while time.monotonic() < end:
        if what == "gc":
            count += store.gc(grace=0).blobs
            time.sleep(0.05)
        else:
            for ref in lm.Store(root).refs():
                log = store.log(ref)
                assert all(a.pred == b.who for a, b in zip(log, log[1:]))
                store.get(ref).weights
                count += 1
except Exception as failed:
    error = repr(failed)
print(json.dumps({"what": what, "count": count, "error": error}))
"""


def campaign(root: Path, seconds: float, writers: int) -> dict:
    """Writers, a reader and a collector at once, each a process; what they say."""
    jobs = [(WRITER, str(n)) for n in range(writers)] + [(OTHER, "gc"), (OTHER, "read")]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(root), name, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        for code, name in jobs
    ]
    said = []
    for process in running:  # all begin together
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        out, err = process.communicate()
        said.append(json.loads(out) if out else {"error": err})
    wrote = [each for each in said if "put" in each]
    count = {each["what"]: each["count"] for each in said if "what" in each}
    return {
        "errors": [each["error"] for each in said if each["error"]],
        "acknowledged": {each["ref"]: each["put"] for each in wrote},
        "put": sum(len(each["put"]) for each in wrote),
        "collected": count.get("gc", 0),
        "read": count.get("read", 0),
    }
