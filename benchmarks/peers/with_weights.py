"""Open the weights of a bundle of 1 GiB, and say what that took.

    python with_weights.py BUNDLE

Prints JSON: the seconds that opening took, the MB of anonymous memory that it took, and the
answer to ones.
"""

import json
import sys
import time
from array import array

import serve.bundle
from serve.runtime import engine, plugins
from serve.runtime.client import Client
from serve.runtime.weights import Weights


def anonymous() -> float:
    """Memory of this process that no file is behind, in MB."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


def main(directory: str) -> None:
    bundle = serve.bundle.read(directory)
    plugin = plugins.find()
    assert plugin is not None
    client = Client(plugin.path)
    before, begun = anonymous(), time.perf_counter()
    weights = Weights(client, bundle)
    seconds, more = time.perf_counter() - begun, anonymous() - before
    weights.close()
    answer = engine.open(bundle)(0, [array("f", [1.0]).tobytes()])[0][2]
    print(json.dumps({"seconds": seconds, "anonymous": more, "answer": array("f", answer)[0]}))


if __name__ == "__main__":
    main(sys.argv[1])
