"""onnxruntime on two threads, with every optimisation; `optimised` begins with their result.

PROGRAM FOLDER BATCH SPEC [optimised | save]: `save` writes what the optimisations make.
"""

import sys

import child
import onnxruntime as ort


def load(start, inputs):
    """A session on the model that `to_onnx` has written."""
    way = sys.argv[4] if len(sys.argv) > 4 else ""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 2, 1
    level = ort.GraphOptimizationLevel
    done = way == "optimised"
    options.graph_optimization_level = level.ORT_DISABLE_ALL if done else level.ORT_ENABLE_ALL
    if way == "save":
        options.optimized_model_filepath = f"{start}.optimised.onnx"
    path = f"{start}.optimised.onnx" if done else f"{start}.onnx"
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = {each.name: each.array() for each in inputs}
    return lambda: session.run(None, x)[0]


if __name__ == "__main__":
    child.main(load)
