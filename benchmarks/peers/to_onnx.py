"""The models as ONNX graphs, node by node, each with its weights inside.

    python to_onnx.py FOLDER BATCH ...

Runs in an environment with onnx and numpy alone.
"""

import os
import sys
from typing import Any

import numpy as np
import onnx
import weights
from onnx import TensorProto, helper, numpy_helper

OPSET = 20  # the first with Gelu
HEADS, WIDTH, LENGTH, EPSILON = 12, 384, 128, 1e-12


class Graph:
    """Nodes and initialisers, in the order they are added; a value is its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def model(self, inputs: dict[str, Any], shape: list[int]) -> onnx.ModelProto:
        """The model whose output is the value of the last node."""
        self.nodes[-1].output[0] = "output"
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
        values = [helper.make_tensor_value_info(n, *kind) for n, kind in inputs.items()]
        graph = helper.make_graph(self.nodes, "model", values, [output], self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def mlp(w: Any, batch: int) -> onnx.ModelProto:
    g, x = Graph(), "x"
    for name in sorted(w):
        product = g.add("MatMul", x, g.constant(w[name]["kernel"]))
        x = g.add("Relu", g.add("Add", product, g.constant(w[name]["bias"])))
    return g.model({"x": (TensorProto.FLOAT, [batch, 512])}, [batch, 512])


def minilm(w: Any, batch: int) -> onnx.ModelProto:
    g, table = Graph(), w["embeddings"]
    positions = g.constant((table["position"][:LENGTH] + table["type"][:1])[None])
    words = g.add("Gather", g.constant(table["word"]), "ids", axis=0)
    x = _norm(g, g.add("Add", words, positions), table["norm"])
    kept = g.add("Cast", "mask", to=TensorProto.FLOAT)
    bias = g.add("Mul", g.add("Sub", kept, _number(g, 1)), _number(g, 1e9))
    bias = g.add("Unsqueeze", bias, g.constant(np.array([1, 2])))
    for i in range(6):
        part = _at(w["layers"], i)
        x = _attend(g, part["attention"], x, bias, batch)
        x = _feed_forward(g, part["mlp"], x)
    weight = g.add("Unsqueeze", kept, g.constant(np.array([2])))
    axis = g.constant(np.array([1]))
    total = g.add("ReduceSum", g.add("Mul", x, weight), axis, keepdims=0)
    mean = g.add("Div", total, g.add("ReduceSum", weight, axis, keepdims=0))
    g.add("LpNormalization", mean, axis=-1, p=2)
    tokens = (TensorProto.INT32, [batch, LENGTH])
    return g.model({"ids": tokens, "mask": tokens}, [batch, WIDTH])


def _attend(g: Graph, w: Any, x: str, bias: str, batch: int) -> str:
    shape = g.constant(np.array([batch, LENGTH, HEADS, WIDTH // HEADS]))

    def heads(name: str, perm: list[int]) -> str:
        return g.add("Transpose", g.add("Reshape", _dense(g, w[name], x), shape), perm=perm)

    query, key, value = (
        heads(name, perm)
        for name, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
    )
    scores = g.add("Div", g.add("MatMul", query, key), _number(g, (WIDTH // HEADS) ** 0.5))
    mixed = g.add("MatMul", g.add("Softmax", g.add("Add", scores, bias), axis=-1), value)
    mixed = g.add("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = g.add("Reshape", mixed, g.constant(np.array([batch, LENGTH, WIDTH])))
    return _norm(g, g.add("Add", x, _dense(g, w["output"], mixed)), w["norm"])


def _feed_forward(g: Graph, w: Any, x: str) -> str:
    wide = g.add("Gelu", _dense(g, w["up"], x))
    return _norm(g, g.add("Add", x, _dense(g, w["down"], wide)), w["norm"])


def _dense(g: Graph, w: Any, x: str) -> str:
    return g.add("Add", g.add("MatMul", x, g.constant(w["kernel"])), g.constant(w["bias"]))


def _norm(g: Graph, x: str, w: Any) -> str:
    scale, bias = g.constant(w["scale"]), g.constant(w["bias"])
    return g.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=EPSILON)


def _number(g: Graph, number: float) -> str:
    return g.constant(np.float32(number))


def _at(node: Any, i: int) -> Any:
    return {k: _at(v, i) for k, v in node.items()} if isinstance(node, dict) else node[i]


if __name__ == "__main__":
    folder, *batches = sys.argv[1:]
    make = {"mlp": mlp, "minilm": minilm}[os.path.basename(folder)]
    for batch in batches:
        model = make(weights.read(folder), int(batch))
        onnx.checker.check_model(model)
        onnx.save(model, os.path.join(folder, f"b{batch}.onnx"))
