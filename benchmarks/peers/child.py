"""The child's side: answer once, then as often as is asked. Imports next to nothing.

    PROGRAM FOLDER BATCH SPEC

`SPEC` is `name:dtype:shape,...`; the inputs are in `FOLDER/bBATCH.NAME.bin`. To stdout go a line
with the size of the answer, and the answer. Each line on stdin is then a number of calls, answered
by a line with the nanoseconds they took.
"""

import os
import sys
import time


class Input:
    """One input: its name, dtype, shape and bytes."""

    def __init__(self, spec, start):
        self.name, self.dtype, shape = spec.split(":")
        self.shape = tuple(map(int, shape.split("x")))
        with open(f"{start}.{self.name}.bin", "rb") as file:
            self.data = file.read()

    def array(self):
        """The input as numpy has it."""
        import numpy

        return numpy.frombuffer(self.data, self.dtype).reshape(self.shape)


def main(load):
    """`load(start, inputs)` is a function of no argument, whose result has the answer's bytes.

    `start` is how the paths of all files of the model at this batch size begin.
    """
    folder, batch, spec = sys.argv[1:4]
    start = os.path.join(folder, f"b{batch}")
    call = load(start, [Input(each, start) for each in spec.split(",")])
    answer = call()
    answer = answer if type(answer) is bytes else answer.tobytes()
    _write(b"%d\n" % len(answer) + answer)
    for line in sys.stdin:
        calls = range(int(line))
        begun = time.perf_counter_ns()
        for _ in calls:
            call()
        _write(b"%d\n" % (time.perf_counter_ns() - begun))


def _write(data):
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]
