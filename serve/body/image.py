"""Pictures as the input of a model that sees: decoded, resized, normalised as the manifest says.

A picture is decoded by Pillow, in the colours of its file; neither its colour profile nor the
orientation that a camera notes is looked at. Numbers x from 0 to 255 become (x - mean) / std.
"""

from __future__ import annotations

from array import array
from binascii import a2b_base64

from serve.arrays import SIZES, Array
from serve.body.forms import JPEG, PNG
from serve.body.lists import from_lists, shown
from serve.errors import BundleError, RequestError
from serve.types import Leaf, leaves

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from serve.types import Type

    Picture = tuple[bytes, tuple[str, ...]]

MOST = 1 << 26  # pixels of all pictures in one request: some bytes can claim to be any number
BOTH = ("JPEG", "PNG")
FORMATS = {JPEG: ("JPEG",), PNG: ("PNG",)}
FITS = ("stretch", "crop")
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
WORDS = {1: "B", 2: "H", 4: "I", 8: "Q"}  # of array, by the size of a number


class Plan:
    """How a picture fills the one leaf of an input: `image` is the manifest's entry.

    Raises BundleError where the leaf can not be a picture, or the entry does not say how.
    """

    __slots__ = ("batched", "crop", "filter", "leaf", "planar", "side", "tables")

    def __init__(self, image: dict[str, Any], of: Type) -> None:
        found = list(leaves(of))
        axes = image["axes"]
        _expect(len(found) == 1, "an input that is one array", f"{len(found)} arrays")
        (self.leaf,) = found
        good = set(axes) <= set("bhwc") and len(set(axes)) == len(axes) == len(self.leaf.dims)
        good = good and {"h", "w"} <= set(axes) and axes.find("b") <= 0
        _expect(good, f"a letter of b, h, w, c for each axis of {self.leaf}, b first", repr(axes))
        size = dict(zip(axes, self.leaf.dims, strict=True))
        fixed = all(isinstance(size.get(axis, 1), int) for axis in "hwc")
        _expect(fixed and size.get("c", 1) in (1, 3), "h and w in numbers, c of 1 or 3", self.leaf)
        _expect(axes.replace("b", "") in ("hw", "hwc", "chw"), "hw, hwc or chw", repr(axes))
        _expect(image["fit"] in FITS, " or ".join(FITS), repr(image["fit"]))
        _expect(image["filter"] in FILTERS, " or ".join(FILTERS), repr(image["filter"]))
        channels = int(size.get("c", 1))
        self.side = int(size["w"]), int(size["h"])
        self.batched = "b" in axes
        self.planar = axes.find("c") < axes.find("h")
        self.crop = image["fit"] == "crop"
        self.filter = FILTERS.index(image["filter"])
        self.tables = [
            _table(mean, std, self.leaf.dtype)
            for mean, std in zip(
                _each(image["mean"], channels), _each(image["std"], channels), strict=True
            )
        ]

    def numbers(self, planes: list[bytes]) -> bytes:
        """The numbers of a picture, a plane of bytes for each channel."""
        size, count = SIZES[self.leaf.dtype], len(planes)
        made = [
            array(WORDS[size], map(table.__getitem__, plane))
            for table, plane in zip(self.tables, planes, strict=True)
        ]
        if self.planar or count == 1:
            return b"".join(each.tobytes() for each in made)
        whole = array(WORDS[size], bytes(size * count * len(made[0])))
        for channel, each in enumerate(made):
            whole[channel::count] = each
        return whole.tobytes()


def reader(image: dict[str, Any], of: Type) -> Callable[[list[Picture]], list[Array]]:
    """The function from pictures, each with the formats that it may have, to the input.

    Raises:
        BundleError: the package pillow is missing, or the bundle can not be served as pictures.
    """
    plan = Plan(image, of)
    try:
        from PIL import Image
    except ImportError:
        raise BundleError(
            "the bundle reads pictures, which takes the package pillow: "
            'install it, or "lamda[image]"'
        ) from None
    # The order of Pillow's filters is older than their names.
    named = [getattr(Image.Resampling, name.upper()) for name in FILTERS]
    mode = "RGB" if len(plan.tables) == 3 else "L"

    def read(pictures: list[Picture]) -> list[Array]:
        if not plan.batched and len(pictures) > 1:
            raise RequestError(f"expected one picture for {plan.leaf}, got {len(pictures)}")
        left, parts = MOST, []
        for body, formats in pictures:
            with _opened(Image, body, formats, left) as picture:
                left -= picture.width * picture.height
                parts.append(plan.numbers(_planes(picture)))
        shape = tuple(len(parts) if isinstance(n, str) else n for n in plan.leaf.dims)
        return [Array(plan.leaf.dtype, shape, b"".join(parts))]

    def _planes(picture: Any) -> list[bytes]:
        try:
            colours = picture.convert(mode)
            box = _middle(colours.size, plan.side) if plan.crop else None
            sized = colours.resize(plan.side, named[plan.filter], box=box)
            return [plane.tobytes() for plane in sized.split()]
        except Exception as error:  # Pillow raises nothing more precise
            raise RequestError(f"the picture can not be decoded: {error}") from None

    return read


def images(value: Any) -> list[Picture] | None:
    """The pictures of `{"image": ONE}` or `{"image": [ONE, ...]}`; None for any other value.

    In JSON a picture is base64, in msgpack it is bytes.

    Raises:
        RequestError: it has that form, but not pictures in it.
    """
    if type(value) is not dict or set(value) != {"image"}:
        return None
    several = type(value["image"]) is list
    found = value["image"] if several else [value["image"]]
    if not found:
        raise RequestError('input["image"]: expected at least one picture, got a list of 0')
    wheres = (f'input["image"][{i}]' if several else 'input["image"]' for i in range(len(found)))
    return [(_bytes(one, where), BOTH) for one, where in zip(found, wheres, strict=True)]


def _bytes(one: Any, where: str) -> bytes:
    if type(one) is bytes:
        return one
    try:
        return a2b_base64(one, strict_mode=True)
    except (TypeError, ValueError):
        text = f"{where}: expected a JPEG or PNG file, in base64, got {shown(one)}"
        raise RequestError(text) from None


def _opened(pillow: Any, body: bytes, formats: tuple[str, ...], most: int) -> Any:
    """The picture, of which nothing but the header has been read."""
    from io import BytesIO

    many = f"expected at most {MOST} pixels in one request: send fewer, or smaller ones"
    try:
        picture = pillow.open(BytesIO(body), formats=formats)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise RequestError(many, 413) from None
    except Exception:  # Pillow raises nothing more precise
        raise RequestError(f"expected a picture, {' or '.join(formats)}") from None
    if picture.width * picture.height > most:
        raise RequestError(many, 413)
    return picture


def _middle(size: tuple[int, int], side: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part of a picture, in its middle, that has the sides of another."""
    scale = min(size[0] / side[0], size[1] / side[1])
    width, height = side[0] * scale, side[1] * scale
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _table(mean: float, std: float, dtype: str) -> array[int]:
    """The number that each byte becomes, as the bits of the dtype."""
    whole = "int" in dtype
    _expect(std != 0, "std other than 0", std)
    _expect(not whole or (mean, std) == (0, 1), f"no mean and std for {dtype}", (mean, std))
    numbers = list(range(256)) if whole else [(x - mean) / std for x in range(256)]
    try:
        data = from_lists(numbers, Leaf((), dtype, (256,))).data
    except RequestError as error:
        raise BundleError(f"image: {error}") from None
    return array(WORDS[SIZES[dtype]], data)


def _each(given: Any, channels: int) -> list[float]:
    """A number for each channel; one number is that of all."""
    found = given if isinstance(given, list) else [given] * channels
    good = len(found) == channels and all(type(x) in (int, float) for x in found)
    _expect(good, f"a number, or {channels} of them, for mean and std", given)
    return found


def _expect(good: bool, expected: str, found: object) -> None:
    if not good:
        raise BundleError(f"image: expected {expected}, found {found}")
