"""LiteRT on two threads, with XNNPACK as it is by default."""

import child
from ai_edge_litert.interpreter import Interpreter


def load(start, inputs):
    """An interpreter of the model that `to_tflite` has written."""
    interpreter = Interpreter(model_path=f"{start}.tflite", num_threads=2)
    interpreter.allocate_tensors()
    places = {each["name"]: each["index"] for each in interpreter.get_input_details()}
    given = [(_place(places, each.name), each.array()) for each in inputs]
    (output,) = interpreter.get_output_details()

    def call():
        for place, array in given:
            interpreter.set_tensor(place, array)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"])

    return call


def _place(places, name):
    """An input by its name, around which the converter puts words of its own."""
    return next(index for full, index in places.items() if name in full.split(":")[0].split("_"))


if __name__ == "__main__":
    child.main(load)
