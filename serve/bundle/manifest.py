"""Is this JSON the manifest of a bundle? docs/bundle.md, as code.

A form says what a value should be: a whole number, `str`, a list of one form, a dict of the keys
that an object must have, or a function that checks. Keys that a form does not name are allowed.
"""

from __future__ import annotations

from math import prod

from serve import errors
from serve.arrays import SIZES
from serve.errors import BundleError
from serve.types import leaves

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FORMAT = "lamda.bundle/1"
ALIGNMENT = 64
SHOWN = 1024  # combinations of sizes, at most, that a message lists


def check(manifest: Any, path: str) -> None:
    """Refuse anything but a manifest; `path` is the file it came from.

    Raises:
        BundleError: names the place in the manifest, what was expected and what was found.
    """
    Check(path).manifest(manifest)


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """How many bytes a dense array takes."""
    return prod(shape) * SIZES[dtype]


class Check:
    """The forms of docs/bundle.md, bound to the file whose name the errors say."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def manifest(self, value: Any) -> None:
        if not isinstance(value, dict):
            self.refuse("the manifest", "an object", value)
        if value.get("format") != FORMAT:
            text = errors.WRONG_FORMAT.format(
                path=self.path, expected=FORMAT, found=value.get("format")
            )
            raise BundleError(text)
        self.fit(value, {
            "name": str, "address": self.digest, "pred": self.maybe(self.digest),
            "input": self.type, "output": self.type,
            "batch": self.maybe(str), "sizes": self.sizes,
            "example": self.anything, "text": self.maybe(self.text),
            "weights": {"packs": [self.file], "tensors": [self.tensor]},
            "programs": [self.program],
        }, "")  # fmt: skip
        self.fit(value.get("padded", []), [str], "padded")
        self.fit(value.get("plugins", []), [self.plugin], "plugins")
        self.fit(value.get("stream"), self.maybe(self.stream), "stream")
        self.fit(value.get("image"), self.maybe(self.image), "image")
        self.names(value)
        self.bounds(value["weights"])
        self.combinations(value["sizes"], value["programs"], "programs")
        self.streams(value)

    def fit(self, value: Any, form: Any, where: str) -> None:
        """Walk the value along its form."""
        if isinstance(form, dict):
            self.expect(isinstance(value, dict), where, "an object", value)
            for key, part in form.items():
                if key not in value:
                    text = errors.MISSING_KEY.format(
                        path=self.path, where=where or "the manifest", key=key
                    )
                    raise BundleError(text)
                self.fit(value[key], part, f"{where}.{key}" if where else key)
        elif isinstance(form, list):
            self.expect(isinstance(value, list), where, "a list", value)
            for index, item in enumerate(value):
                self.fit(item, form[0], f"{where}[{index}]")
        elif form is str:
            self.expect(isinstance(value, str), where, "a string", value)
        else:
            form(value, where)

    def file(self, value: Any, where: str) -> None:
        self.fit(value, {"path": str, "digest": self.digest, "size": self.whole}, where)

    def tensor(self, value: Any, where: str) -> None:
        whole = self.whole
        form = {"dtype": self.dtype, "shape": [whole], "pack": whole, "offset": whole}
        self.fit(value, {**form, "size": whole}, where)
        size = nbytes(value["dtype"], value["shape"])
        self.expect(value["size"] == size, f"{where}.size", f"{size} bytes", value["size"])
        aligned = value["offset"] % ALIGNMENT == 0
        self.expect(aligned, f"{where}.offset", f"a multiple of {ALIGNMENT}", value["offset"])

    def program(self, value: Any, where: str) -> None:
        self.fit(value, {"sizes": {}, "stablehlo": self.file, "executables": [{
            "file": self.file, "target": str, "platform": str,
            "plugin": {"digest": self.digest, "version": str},
            "machine": {"arch": str, "features": [str]},
        }]}, where)  # fmt: skip
        platforms = value.get("platforms", {})
        self.fit(platforms, {}, f"{where}.platforms")
        for name, file in platforms.items():
            self.file(file, f"{where}.platforms.{name}")
        for index, entry in enumerate(value["executables"]):
            self.fit(entry.get("device", ""), str, f"{where}.executables[{index}].device")

    def stream(self, value: Any, where: str) -> None:
        """A stream is a scan or an iteration."""
        good = isinstance(value, dict) and len(value) == 1 and set(value) <= {"scan", "iterate"}
        self.expect(good, where, "a stream: {scan} or {iterate}", value)
        self.fit(value, {"scan": str} if "scan" in value else {"iterate": {
            "n": self.maybe(self.whole), "step": [self.program], "done": self.maybe([self.program]),
        }}, where)  # fmt: skip

    def plugin(self, value: Any, where: str) -> None:
        self.fit(value, {"platform": str, "version": str, "file": self.file}, where)

    def text(self, value: Any, where: str) -> None:
        self.fit(value, {
            "tokenizer": self.file, "batch": str, "length": str, "ids": [self.step],
            "mask": self.maybe(self.steps), "max_length": self.whole,
        }, where)  # fmt: skip

    def image(self, value: Any, where: str) -> None:
        self.fit(value, {
            "axes": str, "fit": str, "filter": str, "mean": self.numbers, "std": self.numbers,
        }, where)  # fmt: skip

    def numbers(self, value: Any, where: str) -> None:
        found = value if isinstance(value, list) else [value]
        good = bool(found) and all(type(x) in (int, float) for x in found)
        self.expect(good, where, "a number, or a list of them", value)

    def steps(self, value: Any, where: str) -> None:
        self.fit(value, [self.step], where)

    def step(self, value: Any, where: str) -> None:
        good = isinstance(value, str) or type(value) is int
        self.expect(good, where, "a key or an index", value)

    def type(self, value: Any, where: str) -> None:
        """A type is an array, a tuple or a dict."""
        good = isinstance(value, dict) and len(value) == 1 and set(value) <= {
            "array", "tuple", "dict"
        }  # fmt: skip
        self.expect(good, where, "a type: {array}, {tuple} or {dict}", value)
        ((kind, body),) = value.items()
        if kind == "array":
            good = isinstance(body, list) and len(body) == 2
            self.expect(good, f"{where}.array", "a dtype and a list of dimensions", body)
            self.dtype(body[0], f"{where}.array[0]")
            self.fit(body[1], [self.dimension], f"{where}.array[1]")
        elif kind == "tuple":
            self.fit(body, [self.type], f"{where}.tuple")
        else:
            self.fit(body, {}, f"{where}.dict")
            for key, part in body.items():
                self.type(part, f"{where}.dict.{key}")

    def dimension(self, value: Any, where: str) -> None:
        good = isinstance(value, str) or (type(value) is int and value >= 0)
        self.expect(good, where, "a whole number or a name", value)

    def sizes(self, value: Any, where: str) -> None:
        self.fit(value, {}, where)
        for name, sizes in value.items():
            self.fit(sizes, [self.whole], f"{where}.{name}")
            good = bool(sizes) and sizes[0] > 0 and sizes == sorted(set(sizes))
            self.expect(good, f"{where}.{name}", "ascending sizes from 1 up", sizes)

    def dtype(self, value: Any, where: str) -> None:
        good = isinstance(value, str) and value in SIZES
        self.expect(good, where, f"a dtype, one of {' '.join(SIZES)}", value)

    def digest(self, value: Any, where: str) -> None:
        good = isinstance(value, str) and len(value) == 71 and value.startswith("sha256:")
        good = good and not value[7:].strip("0123456789abcdef")
        self.expect(good, where, "sha256: and 64 hexadecimal digits", value)

    def whole(self, value: Any, where: str) -> None:
        self.expect(type(value) is int and value >= 0, where, "a whole number", value)

    def anything(self, value: Any, where: str) -> None:
        """Every JSON value is allowed."""

    def maybe(self, form: Any) -> Any:
        def check(value: Any, where: str) -> None:
            if value is not None:
                self.fit(value, form, where)

        return check

    def names(self, value: dict[str, Any]) -> None:
        """The sizes are those of the named dimensions of the input, and one may be the batch."""
        named = {n for leaf in leaves(value["input"]) for n in leaf.dims if isinstance(n, str)}
        expected = f"sizes for exactly {sorted(named)}"
        self.expect(set(value["sizes"]) == named, "sizes", expected, sorted(value["sizes"]))
        good = value["batch"] is None or value["batch"] in named
        self.expect(good, "batch", f"null or one of {sorted(named)}", value["batch"])

    def bounds(self, weights: dict[str, Any]) -> None:
        """Every tensor lies inside its pack."""
        packs = weights["packs"]
        for index, tensor in enumerate(weights["tensors"]):
            where = f"weights.tensors[{index}]"
            good = tensor["pack"] < len(packs)
            self.expect(good, f"{where}.pack", f"less than {len(packs)}", tensor["pack"])
            end, size = tensor["offset"] + tensor["size"], packs[tensor["pack"]]["size"]
            self.expect(end <= size, f"{where}.offset + size", f"at most {size}", end)

    def combinations(self, every: dict[str, list[int]], programs: Any, where: str) -> None:
        """There is exactly one program for every combination of sizes."""
        count = prod(map(len, every.values()))
        few = count == len(programs) or count <= SHOWN  # else they are not even written out
        self.expect(few, where, f"{count} programs, one for each combination", len(programs))
        wanted: list[dict[str, int]] = [{}]
        for name, sizes in every.items():
            wanted = [{**rest, name: size} for rest in wanted for size in sizes]
        found = [program["sizes"] for program in programs]
        good = len(found) == len(wanted) and all(sizes in found for sizes in wanted)
        expected = f"one program for each of {wanted}"
        self.expect(good, where, expected, found)

    def streams(self, value: dict[str, Any]) -> None:
        """A scan is along the first axis of what it reads and gives; an iteration keeps its type.

        A scan has programs for one step, so that any number of them can be made.
        """
        stream = value.get("stream") or {}
        if "scan" in stream:
            axis = stream["scan"]
            both = value["input"], value["output"]
            pairs = [of["tuple"] for of in both if len(of.get("tuple", ())) == 2]
            first = [leaf.dims[:1] for _, xs in pairs for leaf in leaves(xs)]
            rest = [leaf.dims[1:] for _, xs in pairs for leaf in leaves(xs)]
            rest += [leaf.dims for state, _ in pairs for leaf in leaves(state)]
            good = len(pairs) == 2 and set(first) == {(axis,)} and pairs[0][0] == pairs[1][0]
            good = good and not any(axis in dims for dims in rest)
            self.expect(good, "stream.scan", "the axis of a scan", axis)
            one = value["sizes"][axis][0]
            self.expect(one == 1, f"sizes.{axis}", "sizes from 1 on, as it is scanned", one)
        if "iterate" in stream:
            same = value["input"] == value["output"]
            self.expect(same, "output", "the input type, as it is iterated", value["output"])
            for part in ("step", "done"):
                if stream["iterate"][part] is not None:
                    programs, where = stream["iterate"][part], f"stream.iterate.{part}"
                    self.combinations(value["sizes"], programs, where)

    def expect(self, good: bool, where: str, expected: str, found: Any) -> None:
        if not good:
            self.refuse(where or "the manifest", expected, found)

    def refuse(self, where: str, expected: str, found: Any) -> None:
        shown = repr(found)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        raise BundleError(
            errors.WRONG_SHAPE.format(path=self.path, where=where, expected=expected, found=shown)
        )
