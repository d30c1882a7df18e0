"""Bundles: everything that one deployed function needs, in a directory (docs/bundle.md).

Files are named by their digests and written once. A successor in the same directory finds its
programs and executables there: it compiles nothing and writes the tensors that changed.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lamda import errors
from lamda.compile import manifest, program, signing
from lamda.compile.sizes import Given, combinations, resolve
from lamda.model import Model
from lamda.store.files import write_file
from lamda.tensor import ALIGNMENT, Tensor
from serve.runtime import build, digests, machine, plugins

TARGETS = ("cpu",)
File = dict[str, Any]


class Report(NamedTuple):
    """What :func:`bundle` did."""

    directory: Path
    address: str
    compiled: int
    """Executables that were compiled now; what was there already is not compiled again."""
    added: int
    """Bytes of the files that were written now."""


def bundle(
    model: Model,
    directory: str | Path,
    *,
    name: str | None = None,
    targets: Sequence[str] = TARGETS,
    batch: Given = None,
    tokenizer: str | Path | bytes | None = None,
    roll: bool | None = None,
    sign: str | Path | Sequence[str | Path] = (),
    **sizes: Given,
) -> Report:
    """``serve.load(directory)`` of what this writes answers as the model does.

    Sizes and ``roll`` are given as to :func:`compile`. With ``tokenizer``, a ``tokenizer.json``,
    requests may be text; it travels as data. An executable needs a PJRT plugin for its target;
    where there is none, the bundle holds the portable program alone, and is compiled where it is
    loaded. ``sign`` is a private key, a PEM file, or several: what signs the manifest.

    >>> import lamda as lm, serve, tempfile
    >>> directory = tempfile.mkdtemp()
    >>> report = bundle(lm.lift(lambda x: x + 1, input="float32[b]"), directory, batch=4)
    >>> serve.load(directory)(b"[1, 2.5]")
    b'[2,3.5]'

    Written into a directory that holds another version, the new one takes its place in one step;
    processes that serve the old one keep their files.

    Raises SpecError, OpenError; ``serve.errors.PluginError`` where a program does not compile.
    """
    unknown = [t for t in targets if t not in TARGETS]
    if unknown:
        known = ", ".join(TARGETS)
        raise errors.SpecError(errors.UNKNOWN_TARGET.format(given=unknown[0], known=known))
    numbers = resolve(model, batch, sizes)
    writer = _Writer(Path(directory))
    text = None
    if tokenizer is not None:
        data = tokenizer if isinstance(tokenizer, bytes) else Path(tokenizer).read_bytes()
        text = manifest.text(model, writer.file("files", [data]), numbers, None)
    entries = manifest.describe(model, name or str(model), numbers, text)
    whole = program.of(model, roll)
    entries["weights"] = _weights(whole, writer)
    entries["programs"] = [
        _program(whole, chosen, writer, bool(targets)) for chosen in combinations(numbers)
    ]
    data = _canonical(entries)
    if keys := [sign] if isinstance(sign, str | Path) else sign:
        signing.write(writer.root, data, keys, model.receipt)
    write_file(writer.root / "manifest.json", data)
    return Report(writer.root, model.address, writer.compiled, writer.added)


class _Writer:
    """Files of a bundle, each written once; and what the bundle held before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.added = 0
        self.compiled = 0
        self.before = {p["stablehlo"]["digest"]: p["executables"] for p in _programs(root)}

    def file(self, folder: str, chunks: Iterable[bytes | memoryview], suffix: str = "") -> File:
        """The FILE of these bytes."""
        parts = list(chunks)
        sha = hashlib.sha256()
        for part in parts:
            sha.update(part)
        digest, size = sha.hexdigest(), sum(len(part) for part in parts)
        path = self.root / folder / f"{digest}{suffix}"
        if not _whole(path, f"sha256:{digest}"):
            write_file(path, parts)
            self.added += size
        return {
            "path": f"{folder}/{path.name}",
            "digest": f"sha256:{digest}",
            "size": size,
        }


def _programs(root: Path) -> list[dict[str, Any]]:
    """The programs of the bundle that is there, if one is."""
    try:
        return json.loads((root / "manifest.json").read_bytes())["programs"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def _weights(whole: program.Program, writer: _Writer) -> dict[str, Any]:
    """Two packs, of what is frozen and what is trained, so that a successor rewrites one.

    The tensors of a rolled run lie side by side: stacked, they are one view of the file.
    """
    packs: dict[bool, list[bytes | memoryview]] = {}
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
        "packs": [writer.file("weights", packs[trained], ".bin") for trained in order],
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


def _numbers(tensor: Tensor) -> bytes | memoryview:
    """The bytes of a tensor without its header."""
    _, *numbers = tensor.chunks()
    return numbers[0] if numbers else b""


def _program(
    whole: program.Program, sizes: dict[str, int], writer: _Writer, executable: bool
) -> dict[str, Any]:
    code = program.stablehlo(whole.at(sizes))
    file = writer.file("programs", [code], ".mlir")
    plugin = plugins.find() if executable else None
    executables = []
    if plugin is not None:
        kept = [e for e in writer.before.get(file["digest"], ()) if _fits(e, plugin, writer.root)]
        executables = kept[:1] or [_compile(code, plugin, writer)]
    return {"sizes": sizes, "stablehlo": file, "executables": executables}


def _fits(entry: dict[str, Any], plugin: plugins.Plugin, root: Path) -> bool:
    """Whether an executable of the bundle is for this plugin and this machine, and still there."""
    here = machine.here()
    same = entry["machine"] == {"arch": here.arch, "features": list(here.features)}
    there = _whole(root / entry["file"]["path"], entry["file"]["digest"])
    return same and there and entry["plugin"]["digest"] == plugin.digest


def _whole(path: Path, digest: str) -> bool:
    """Whether a file is there and undamaged; it is not read where that is known."""
    return path.exists() and digests.digest(str(path.resolve())) == digest


def _compile(code: bytes, plugin: plugins.Plugin, writer: _Writer) -> dict[str, Any]:
    built = build.compile_program(code, plugin)
    writer.compiled += 1
    file = writer.file("executables", [built.executable], ".pjrt")
    return {"file": file, **built.entry}


def _canonical(value: Any) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
