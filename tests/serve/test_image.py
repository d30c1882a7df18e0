"""Pictures become arrays as Pillow and numpy make them, and hostile ones are refused."""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
import tools
from hypothesis import given
from hypothesis import strategies as st
from memory import Bundle, handler, pack

import lamda as lm
import serve
from serve.body.forms import JPEG, JSON, MSGPACK, OCTETS, PNG
from serve.errors import BundleError, RequestError
from serve.handler import Handler

try:
    from PIL import Image
except ImportError:
    sys.path.append(str(tools.package("pillow", "13.0.0")))
    from PIL import Image

ENTRY = {"axes": "bhwc", "fit": "stretch", "filter": "bilinear", "mean": 127, "std": 128}
PHOTO = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)


def typed(name: str, *dims: int | str) -> dict[str, Any]:
    return {"array": [name, list(dims)]}


def seeing(of: dict[str, Any], **entry: Any) -> Handler:
    """The model that answers with its input."""
    sizes = {"b": [1, 4]} if "b" in of["array"][1] else {}
    bundle = Bundle(of, of, sizes)
    bundle.image = ENTRY | entry
    return handler(bundle, lambda x: [x])


def file(pixels: np.ndarray, form: str = "PNG") -> bytes:
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, form)
    return made.getvalue()


def seen(function: Handler, body: bytes, form: str, shape: Any, dtype: str) -> np.ndarray:
    return np.frombuffer(function.answer(body, form, OCTETS)[0], dtype).reshape(shape)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("planar", [False, True])
def test_a_picture_is_what_pillow_and_numpy_make_of_it(form: str, planar: bool) -> None:
    body = file(PHOTO, form)
    mean, std = [123.0, 116.0, 103.0], [58.0, 57.0, 57.5]
    dims = ("b", 3, 6, 8) if planar else ("b", 6, 8, 3)
    axes = "bchw" if planar else "bhwc"
    function = seeing(typed("float32", *dims), axes=axes, mean=mean, std=std)
    expected = Image.open(io.BytesIO(body)).resize((8, 6), Image.Resampling.BILINEAR)
    wanted = (np.asarray(expected, "float64") - mean) / std
    wanted = wanted.transpose(2, 0, 1) if planar else wanted
    content_type = {"JPEG": JPEG, "PNG": PNG}[form]
    found = seen(function, body, content_type, (1, *dims[1:]), "<f4")
    np.testing.assert_array_equal(found[0], wanted.astype("float32"))


def test_crop_keeps_the_middle_and_the_ratio() -> None:
    function = seeing(typed("uint8", 3, 3, 3), axes="hwc", mean=0, std=1, fit="crop", filter="box")
    for wide, part in ((PHOTO[:, :13], PHOTO[:, 2:11]), (PHOTO[:, :5], PHOTO[2:7, :5])):
        found = seen(function, file(wide), PNG, (3, 3, 3), "uint8")
        middle = Image.fromarray(part).resize((3, 3), Image.Resampling.BOX)
        assert np.abs(found - np.asarray(middle, int)).max() <= 1  # Pillow rounds, with a box


def test_grey_and_transparent_pictures() -> None:
    grey = seeing(typed("float16", 9, 14), axes="hw", mean=0, std=255)
    found = seen(grey, file(PHOTO), PNG, (9, 14), "<f2")
    wanted = np.asarray(Image.fromarray(PHOTO).convert("L"), "float64") / 255
    np.testing.assert_array_equal(found, wanted.astype("float16"))
    colour = seeing(typed("uint8", 9, 14, 3), axes="hwc", mean=0, std=1)
    clear = np.concatenate([PHOTO, np.zeros((9, 14, 1), np.uint8)], axis=2)
    np.testing.assert_array_equal(seen(colour, file(clear), PNG, (9, 14, 3), "uint8"), PHOTO)


def test_several_pictures_in_json_and_msgpack() -> None:
    function = seeing(typed("uint8", "b", 2, 2, 3), mean=0, std=1)
    body = file(PHOTO)
    one = seen(function, body, PNG, (2, 2, 3), "uint8").tolist()
    text = base64.b64encode(body).decode()
    for value, count in ((text, 1), ([text] * 3, 3)):
        assert json.loads(function(json.dumps({"image": value}).encode())) == [one] * count
    packed = pack({"image": [body, file(PHOTO, "PNG")]})
    assert json.loads(function.answer(packed, MSGPACK, JSON)[0]) == [one] * 2
    assert json.loads(function(json.dumps([one]).encode())) == [one]  # the tree is taken too
    assert {JPEG, PNG} <= set(function.describe()["content_types"]["request"])


@pytest.mark.parametrize(
    ("body", "form", "message"),
    [
        (b"GIF89a", PNG, "expected a picture, PNG"),
        (file(PHOTO, "JPEG"), PNG, "expected a picture, PNG"),
        (file(PHOTO)[:200], PNG, "the picture can not be decoded: "),
        (b'{"image": "%"}', JSON, 'input["image"]: expected a JPEG or PNG file, in base64'),
        (b'{"image": [1]}', JSON, 'input["image"][0]: expected a JPEG or PNG file, in base64'),
        (b'{"image": []}', JSON, 'input["image"]: expected at least one picture'),
        (b'{"image": "R0lGODlh"}', JSON, "expected a picture, JPEG or PNG"),
    ],
)
def test_what_is_no_picture_is_a_400(body: bytes, form: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        seeing(typed("float32", "b", 2, 2, 3))(body, form)
    assert caught.value.status == 400
    assert str(caught.value).startswith(message)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claiming(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that says it is as large as that."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8193, 10_000, 20_000, 2**31 - 1])
def test_a_picture_that_claims_too_many_pixels_is_a_413(side: int) -> None:
    with pytest.raises(RequestError, match="expected at most 67108864 pixels") as caught:
        seeing(typed("float32", "b", 2, 2, 3))(claiming(side, side), PNG)
    assert caught.value.status == 413


def test_all_pictures_of_a_request_count() -> None:
    large = base64.b64encode(file(np.zeros((4100, 4100), np.uint8))).decode()
    function = seeing(typed("uint8", "b", 2, 2, 1), mean=0, std=1)
    body = json.dumps({"image": [large] * 4}).encode()
    with pytest.raises(RequestError, match="expected at most 67108864 pixels"):
        function(body)
    one = seeing(typed("uint8", 2, 2), axes="hw", mean=0, std=1)
    with pytest.raises(RequestError, match=r"expected one picture for uint8\[2, 2\], got 2"):
        one(json.dumps({"image": [large] * 2}).encode())


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_answered_or_refused(data: bytes, jpeg: bool) -> None:
    whole = file(PHOTO, "JPEG" if jpeg else "PNG")
    at = len(data) % len(whole)
    for body in (data, whole[:at] + data + whole[at + len(data) :]):
        try:
            seeing(typed("float32", "b", 2, 2, 3))(body, JPEG if jpeg else PNG)
        except RequestError as error:
            assert error.status in (400, 413)


@pytest.mark.parametrize(
    ("dims", "entry", "message"),
    [
        (("b", 2, 2, 4), {}, "image: expected h and w in numbers, c of 1 or 3, found float32[b, 2"),
        (("b", "h", 2, 3), {}, "image: expected h and w in numbers, c of 1 or 3"),
        (("b", 2, 2), {}, "image: expected a letter of b, h, w, c for each axis of float32[b, 2, "),
        (("b", 2, 2, 3), {"fit": "zoom"}, "image: expected stretch or crop, found 'zoom'"),
        (("b", 2, 2, 3), {"filter": "x"}, "image: expected nearest or bilinear or bicubic or"),
        (("b", 2, 2, 3), {"std": 0}, "image: expected std other than 0, found 0"),
        (("b", 2, 2, 3), {"mean": [1, 2]}, "image: expected a number, or 3 of them, for mean"),
        (("b", 2, 3, 2), {"axes": "bhcw"}, "image: expected hw, hwc or chw, found 'bhcw'"),
    ],
)
def test_an_entry_that_does_not_fit_the_input_is_refused(
    dims: tuple[int | str, ...], entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError) as caught:
        bundle = Bundle(typed("float32", *dims), typed("float32", *dims))
        bundle.image = ENTRY | entry
        handler(bundle, lambda x: [x])
    assert str(caught.value).startswith(message)


def test_a_bundle_says_how_pictures_are_read(tmp_path: Any) -> None:
    model = lm.lift(lambda x: x.mean((1, 2)), input="float32[b, 6, 8, 3]", name="colours")
    lm.bundle(model, tmp_path, image={"mean": 127, "std": [128, 128, 64]}, targets=())
    function = serve.load(tmp_path)
    found = np.array(json.loads(function(file(PHOTO), PNG)))
    sized = np.asarray(Image.fromarray(PHOTO).resize((8, 6), Image.Resampling.BILINEAR), "float64")
    wanted = ((sized - 127) / [128, 128, 64]).mean((0, 1))
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5)
    example = json.dumps(function.describe()["example"]).encode()
    assert len(example) < 200
    assert len(json.loads(function(example))[0]) == 3
    with pytest.raises(lm.errors.SpecError, match="image= takes axes, fit, filter, mean, std; got"):
        lm.bundle(model, tmp_path, image={"size": 3})
    with pytest.raises(lm.errors.SpecError, match="image= needs an input that is one array of pic"):
        lm.bundle(lm.lift(lambda x: x, input="float32[b]"), tmp_path, image={})
