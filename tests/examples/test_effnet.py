"""The network against torch's, and against photographs; and files that are no weights."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import effnet
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from jax import export
from PIL import Image
from sklearn.datasets import load_sample_image

REFERENCE = json.loads(Path(__file__).with_name("effnet_reference.json").read_text("utf-8"))
ROWS = REFERENCE["pictures"]
BOUND = 1e-4
"""How far a feature or a logit may be from torch's; they are as large as 6 and 19."""


@pytest.fixture(scope="module")
def file() -> bytes:
    return effnet.model_file()


@pytest.fixture(scope="module")
def weights(file: bytes) -> tuple[effnet.Weights, effnet.Weights]:
    return effnet.load(file)


def waves(height: int, width: int) -> np.ndarray:
    """The picture that the reference was made of, uint8[h, w, 3]."""
    down, across = np.mgrid[:height, :width]
    parts = (down * across // 7 + 3 * down, across * across // 5 + down, down * (across + 2) // 3)
    return (np.stack(parts, axis=-1) % 256).astype(np.uint8)


def given(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.float32) - effnet.MEAN) / effnet.STD


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["shape"]))
def test_outputs_equal_the_reference(row: Any, weights: Any) -> None:
    seeing, naming = weights
    pixels = waves(*row["shape"])
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == row["sha256"]
    x = given(pixels[None])
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        got = jax.jit(effnet.features)(seeing, x)
        logits = np.asarray(effnet.classify(naming, got))[0]
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got[0], row["features"], rtol=0, atol=BOUND)
    best = np.argsort(-logits)[: len(row["classes"])]
    assert best.tolist() == row["classes"]
    np.testing.assert_allclose(logits[best], row["logits"], rtol=0, atol=BOUND)


def test_the_reference_tells_pictures_apart() -> None:
    one, other = (np.array(row["features"]) for row in ROWS)
    assert np.abs(one - other).max() > 1
    assert (one > 0).sum() > 200


@pytest.mark.parametrize(("name", "seen"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_it_sees_what_people_see(name: str, seen: int, weights: Any) -> None:
    """Photographs that come with scikit-learn: a palace, and what ImageNet has next to a dahlia."""
    seeing, naming = weights
    photograph = Image.fromarray(load_sample_image(name)[:, 107:534])
    x = given(np.asarray(photograph.resize((224, 224), Image.Resampling.BILINEAR))[None])
    logits = effnet.classify(naming, jax.jit(effnet.features)(seeing, x))
    assert int(jnp.argmax(logits)) == seen


def test_load_keeps_every_number(file: bytes, weights: Any) -> None:
    seeing, naming = weights
    count = {name: array.size for name, array in torch_weights.weights(file).items()}
    norms = sum(size for name, size in count.items() if "running" in name)
    steps = sum(name.endswith("num_batches_tracked") for name in count)
    # Of the four numbers of a channel's batch norm, two are left: a scale in the kernel, a bias.
    kept = sum(leaf.size for leaf in jax.tree.leaves((seeing, naming)))
    assert kept == sum(count.values()) - norms // 2 * 3 - steps
    assert kept == 3_350_000 + 1_281_000


def test_traces_once_for_any_number_of_pictures(weights: Any) -> None:
    seeing, _ = weights
    (b,) = export.symbolic_shape("b")
    pictures = jax.ShapeDtypeStruct((b, 32, 32, 3), jnp.float32)
    exported = export.export(jax.jit(effnet.features))(seeing, pictures)
    assert [str(out) for out in exported.out_avals] == ["float32[b,1280]"]
    x = given(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)))
    several = exported.call(seeing, x)
    for one, row in zip(x, several, strict=True):
        np.testing.assert_allclose(exported.call(seeing, one[None])[0], row, rtol=0, atol=BOUND)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(7, 8), (6, 5)])
def test_a_sum_of_shifted_pictures_is_the_grouped_convolution(
    shape: tuple[int, int], size: int, stride: int
) -> None:
    normal = np.random.default_rng(size).normal
    x = normal(size=(2, *shape, 4)).astype(np.float32)
    kernel = normal(size=(size, size, 4)).astype(np.float32)
    wanted = jax.lax.conv_general_dilated(
        x, kernel[:, :, None], (stride, stride), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4,
    )  # fmt: skip
    got = effnet._depthwise({"kernel": kernel, "bias": np.zeros(4, np.float32)}, x, stride)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


class Named:
    """What pickles as a call of a function that is only named."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def legacy(state: Any, *rest: bytes, magic: int = torch_weights.MAGIC) -> bytes:
    """A file of the format with any state in it, and no storages."""
    parts = (magic, torch_weights.VERSION, {"little_endian": True}, state, [])
    return b"".join([*(pickle.dumps(part, 2) for part in parts), *rest])


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    import os

    made = tmp_path / "made"
    with pytest.raises(ValueError, match=r"asks for \w+\.mkdir, which no weights need"):
        torch_weights.weights(legacy(Named(os.mkdir, (str(made),))))
    assert not made.exists()
    assert torch_weights.weights(legacy(OrderedDict())) == {}


def test_a_file_that_is_no_weights_is_refused(file: bytes) -> None:
    other = legacy(OrderedDict(), magic=1)
    ends = (file[:-1], file[: len(file) // 2], file[:100], file + b"\0")
    for bad in (b"", b"PK\x03\x04" * 30, other, legacy([1]), legacy(OrderedDict(), b"\0"), *ends):
        with pytest.raises(ValueError, match="expected the weights that PyTorch wrote before"):
            torch_weights.weights(bad)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (3,), (2,)), (2, (3,), (1,)), (-1, (2,), (1,)), (0, (2, 2), (-1, 1)), (0, (2,), (1, 1))],
)
def test_a_tensor_outside_of_its_storage_is_refused(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    storage = np.arange(4, dtype=np.float32)
    kept = torch_weights._Storage("0", storage.dtype, 4)
    with pytest.raises(ValueError):
        torch_weights._tensor(storage, torch_weights._View(kept, offset, shape, strides))
    inside = torch_weights._View(kept, 1, (2, 2), (1, 1))
    assert torch_weights._tensor(storage, inside).tolist() == [[1, 2], [2, 3]]
