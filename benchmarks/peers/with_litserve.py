"""The eight layers behind LitServe, which takes JSON: the numbers are lists in it, or base64.

PROGRAM PORT FOLDER lists|base64
"""

import base64
import sys

import litserve
import numpy as np
import weights

LISTS = sys.argv[3] == "lists"


class Mlp(litserve.LitAPI):
    def setup(self, device):
        read = weights.read(sys.argv[2])
        self.layers = [
            (np.array(w["kernel"]), np.array(w["bias"])) for _, w in sorted(read.items())
        ]

    def decode_request(self, request):
        if LISTS:
            return np.asarray(request["x"], np.float32)
        return np.frombuffer(base64.b64decode(request["x"]), np.float32).reshape(-1, 512)

    def predict(self, x):
        for kernel, bias in self.layers:
            x = np.maximum(x @ kernel + bias, 0)
        return x

    def encode_response(self, output):
        return {"x": output.tolist() if LISTS else base64.b64encode(output.tobytes()).decode()}


if __name__ == "__main__":
    server = litserve.LitServer(Mlp(), accelerator="cpu")
    server.run(port=int(sys.argv[1]), log_level="error", generate_client_file=False)
