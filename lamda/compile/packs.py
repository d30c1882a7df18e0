"""The weights of a bundle: tensors one after the other, in two files."""

from typing import Any

from lamda.compile import program
from lamda.compile.files import Chunk, Files
from lamda.tensor import ALIGNMENT, Tensor


def weights(whole: program.Program, files: Files) -> dict[str, Any]:
    """Two packs, of what is frozen and what is trained, so that a successor rewrites one.

    The tensors of a rolled run lie side by side: stacked, they are one view of the file.
    """
    packs: dict[bool, list[Chunk]] = {}
    ends = {False: 0, True: 0}
    placed = []
    for argument in whole.arguments:
        trained, size = argument.trained, sum(tensor.nbytes for tensor in argument.tensors)
        offset = ends[trained] + -ends[trained] % ALIGNMENT
        chunks = packs.setdefault(trained, [])
        chunks.append(bytes(offset - ends[trained]))
        chunks += map(_numbers, argument.tensors)
        ends[trained] = offset + size
        placed.append((trained, offset, size, argument.type))
    order = sorted(packs)
    return {
        "packs": [files.add("weights", packs[trained], ".bin") for trained in order],
        "tensors": [
            {
                "dtype": type.dtype,
                "shape": list(type.shape),
                "pack": order.index(trained),
                "offset": offset,
                "size": size,
            }
            for trained, offset, size, type in placed
        ],
    }


def _numbers(tensor: Tensor) -> Chunk:
    """The bytes of a tensor without its header."""
    _, *numbers = tensor.chunks()
    return numbers[0] if numbers else b""
