"""Digits, end to end, on fewer of them."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import baseline
import data
import digits
import effnet
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import serve

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def said(out):
    command = [sys.executable, str(ROOT / "examples" / "digits.py"), "--small", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_it_learns_more_than_pixels_tell(said):
    ours, theirs = map(float, re.findall(r"(?:held out|on pixels): (\d\.\d+)", said))
    assert ours > 0.8
    assert ours > theirs > 0.7


def test_versions_are_kept(said):
    assert "version zero: True" in said and "succ(zero, head) is one: True" in said
    head, whole = (int(n.replace(",", "")) for n in re.findall(r"adds +([\d,]+) bytes", said))
    # A head of 12,810 numbers beside a network of 3,350,000.
    assert 51_240 < head < 100_000 < 13_400_000 < whole


def test_it_is_served_as_in_this_process(said):
    read = re.findall(r"a (\d), read as (\d): PNG", said)
    assert len(read) == 5
    assert sum(label == answer for label, answer in read) >= 4
    assert "as in this process, to within 1e-04" in said


def test_a_third_version_moves_the_head_alone(said):
    third = said[said.index("6. A third version") :]
    assert "0 executables compiled, 51,264 bytes written" in third
    assert int(re.findall(r"([\d,]+) bytes added", third)[0].replace(",", "")) < 100_000


def test_a_picture_of_any_size_and_form_is_read(said, out):
    picture = data.mnist().pictures[0]
    large = Image.fromarray(picture).resize((280, 280), Image.Resampling.NEAREST)
    handler = serve.load(out / "bundle")
    for form in ("PNG", "JPEG"):
        file = io.BytesIO()
        large.convert("RGB").save(file, form)
        answer = handler(file.getvalue(), content_type=f"image/{form.lower()}")
        assert np.argmax(json.loads(answer)) == 0
    handler.engine.close()


def test_the_digits_are_those_of_mnist():
    found = data.mnist()
    assert found.pictures.shape == (5000, 28, 28) and found.pictures.dtype == np.uint8
    assert np.bincount(found.labels).tolist() == [500] * 10
    # A nought is ink around an empty middle; a one is ink in the middle.
    middle = found.pictures[:, 12:16, 12:16].mean((1, 2))
    assert middle[found.labels == 0].mean() < 30 < 130 < middle[found.labels == 1].mean()


def test_split_is_balanced_and_disjoint():
    found = data.mnist()
    seen, held_out = data.split_pictures(found, 100, 500)
    assert np.bincount(seen.labels).tolist() == [10] * 10
    known = {picture.tobytes() for picture in seen.pictures}
    assert len(known) == 100 and len(held_out.labels) == 500
    assert not known & {picture.tobytes() for picture in held_out.pictures}


def test_enlarging_keeps_the_picture():
    x = np.random.default_rng(0).random((2, 28, 28), np.float32)
    with jax.numpy_rank_promotion("raise"):
        large = digits.enlarge(jnp.asarray(x))
    assert large.shape == (2, 96, 96, 3)
    np.testing.assert_array_equal(large[..., 0], large[..., 2])
    wanted = [Image.fromarray(row).resize((96, 96), Image.Resampling.BILINEAR) for row in x]
    np.testing.assert_allclose(large[..., 1], np.stack(wanted), rtol=0, atol=1e-5)


def test_only_the_head_is_trained():
    weights, _ = effnet.load(effnet.model_file())
    model = digits.model(weights)
    assert list(model.weights) == ["head"]
    trained = {path: tensor.array.shape for path, tensor, trained in model.tensors() if trained}
    assert trained == {("head", "bias"): (10,), ("head", "kernel"): (1280, 10)}


def test_the_baseline_learns_pixels():
    dark, light = np.zeros((3, 2, 2), np.uint8), np.full((3, 2, 2), 255, np.uint8)
    pictures, labels = np.concatenate([dark, light]), np.array([0, 0, 0, 1, 1, 1])
    assert baseline.pixels(pictures, labels, pictures, labels) == 1.0
    assert baseline.pixels(pictures, labels, pictures, 1 - labels) == 0.0
