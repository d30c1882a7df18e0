"""The eight layers behind BentoML, as a JSON API: the numbers are lists in it, or base64.

`bentoml serve with_bentoml:Mlp`, with the folder of the weights in WEIGHTS.
"""

import base64
import os

import bentoml
import numpy as np
import weights


@bentoml.service(workers=1)
class Mlp:
    def __init__(self) -> None:
        read = weights.read(os.environ["WEIGHTS"])
        self.layers = [
            (np.array(w["kernel"]), np.array(w["bias"])) for _, w in sorted(read.items())
        ]

    @bentoml.api
    def run(self, x: np.ndarray) -> np.ndarray:
        return self._run(x.astype(np.float32))

    @bentoml.api
    def packed(self, x: str) -> str:
        y = np.frombuffer(base64.b64decode(x), np.float32).reshape(-1, 512)
        return base64.b64encode(self._run(y).tobytes()).decode()

    def _run(self, y: np.ndarray) -> np.ndarray:
        for kernel, bias in self.layers:
            y = np.maximum(y @ kernel + bias, 0)
        return y
