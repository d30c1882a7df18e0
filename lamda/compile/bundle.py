"""Bundles: everything that one deployed function needs, in a directory (docs/bundle.md).

Files are named by their digests and written once. A successor in the same directory finds its
programs and executables there: it compiles nothing and writes the tensors that changed.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lamda.compile import limits, manifest, packs, program, signing, stream
from lamda.compile.executables import Executables
from lamda.compile.files import File, Files
from lamda.compile.limits import Size
from lamda.compile.sizes import Given, combinations, promised
from lamda.compile.targets import Target, target
from lamda.compile.tune import Tuned, Tuner
from lamda.model import Model
from lamda.store.files import write_file

TARGETS = ("cpu",)


class Report(NamedTuple):
    """What :func:`bundle` did."""

    directory: Path
    address: str
    """That of the model."""
    bundle: str
    """That of the bundle: of all that is in it but the bytes of executables, which vary."""
    compiled: int
    """Executables that were compiled now; what was there already is not compiled again."""
    added: int
    """Bytes of the files that were written now."""
    size: Size
    """Bytes of the deployed function: runtime, plugin and model."""
    tuned: tuple[Tuned, ...] = ()
    """What tuning found, for each program and target."""


def bundle(
    model: Model,
    directory: str | Path,
    *,
    name: str | None = None,
    targets: Sequence[str] = TARGETS,
    batch: Given = None,
    padded: str | Sequence[str] = (),
    tokenizer: str | Path | bytes | None = None,
    image: Mapping[str, Any] | None = None,
    roll: bool | None = None,
    plugin: bool = False,
    tune: bool = False,
    limit: str | None = None,
    sign: str | Path | Sequence[str | Path] = (),
    **sizes: Given,
) -> Report:
    """``serve.load(directory)`` of what this writes answers as the model does.

    Sizes, ``padded`` and ``roll`` are given as to :func:`compile`. ``targets`` are the names of
    machines (:mod:`lamda.compile.targets`), the preferred ones first; ``"cpu"`` is any x86-64
    processor with AVX2. An executable needs a PJRT plugin for its target, though not the device;
    without one for the CPU the bundle holds the portable program alone, and is compiled where it
    is loaded. With ``plugin=True`` the plugins travel in the bundle.

    With ``tune=True`` some flags of the compiler are tried on this machine, for each program and
    each CPU target that it can run, and the fastest are kept of those whose answers are within 16
    ulps, of the dtype and of the largest number of each output, of the answers without flags
    (:mod:`lamda.compile.tune`). That takes seconds to minutes, and its choice may differ from time
    to time; a successor in the same directory keeps it.

    With ``tokenizer``, a ``tokenizer.json``, requests may be text; it travels as data. With
    ``image`` they may be JPEG or PNG, for an input that is one array of pictures:
    ``{"mean": 127, "std": 128, "fit": "crop"}`` for one says how they fill it (docs/bundle.md).
    ``limit`` names a platform whose limit of size the deployed function must keep,
    ``"aws-lambda-zip"`` for one. ``sign`` is a private key, a PEM file, or several: what signs the
    manifest.

    >>> import lamda as lm, serve, tempfile
    >>> directory = tempfile.mkdtemp()
    >>> report = bundle(lm.lift(lambda x: x + 1, input="float32[b]"), directory, batch=4)
    >>> serve.load(directory)(b"[1, 2.5]")
    b'[2,3.5]'

    A model that is one ``scan`` along a named axis, or one ``iterate``, streams its results as they
    come; programs for one element are made of a scan beside those of the sizes that were given.

    Written into a directory that holds another version, the new one takes its place in one step;
    processes that serve the old one keep their files.

    Raises SpecError, OpenError; ``serve.errors.PluginError`` where a program does not compile.
    """
    chosen = [target(each) for each in targets]
    streamed = stream.find(model)
    numbers = stream.resolve(model, streamed, batch, sizes)
    files = Files(Path(directory))
    text = None
    if tokenizer is not None:
        data = tokenizer if isinstance(tokenizer, bytes) else Path(tokenizer).read_bytes()
        text = manifest.text(model, files.add("files", [data]), numbers, None)
    entries = manifest.describe(model, name or str(model), numbers, text)
    if image is not None:
        entries["image"] = manifest.image(model, image)
        entries["example"] = {"image": [manifest.PICTURE]}
    if names := promised(model, padded, numbers):
        entries["padded"] = names
    whole = program.of(model, roll)
    entries["weights"] = packs.weights(whole, files)
    executables = Executables(files)
    with Tuner(executables, whole) as tuner:
        entry = tuner.entry if tune else tuner.untuned

        def programs(of: program.Program) -> list[dict[str, Any]]:
            return [_program(of.at(each), files, entry, chosen) for each in combinations(numbers)]

        entries["programs"] = programs(whole)
        if streamed is not None:
            entries["stream"] = stream.entry(streamed, whole, programs)
    own = files.size
    if plugin:
        entries["plugins"] = _carried(files, executables, entries["programs"])
    address = f"sha256:{hashlib.sha256(manifest.canonical(manifest.inputs(entries))).hexdigest()}"
    data = manifest.canonical({**entries, "bundle": address})
    libraries = [Path(found.path).stat().st_size for found in executables.plugins.values()]
    size = Size(limits.runtime(texts=text is not None), sum(libraries), own + len(data))
    if limit is not None:
        limits.require(size, limit)
    files.write()
    if keys := [sign] if isinstance(sign, str | Path) else sign:
        signing.write(files.root, data, keys, model.receipt)
    write_file(files.root / "manifest.json", data)
    return Report(
        files.root, model.address, address, executables.built, files.added, size, tuple(tuner.found)
    )


def _program(
    structure: program.Structure,
    files: Files,
    entry: Callable[..., dict[str, Any] | None],
    targets: Sequence[Target],
) -> dict[str, Any]:
    """The PROGRAM of a structure; ``entry`` makes the EXECUTABLE for a target.

    It is exported for the CPU, and again for each platform where that is another program.
    """

    def exported(platform: str) -> tuple[bytes, File]:
        code = program.stablehlo(structure, platform)
        return code, files.add("programs", [code], ".mlir")

    _, portable = exported("cpu")
    others: dict[str, File] = {}
    made = []
    for each in targets:
        code, file = exported(each.platform)
        if file != portable:
            others[each.platform] = file
        made.append(entry(code, file, structure, each))
    return {
        "sizes": dict(structure.sizes),
        "stablehlo": portable,
        "executables": [entry for entry in made if entry is not None],
        **({"platforms": others} if others else {}),
    }


def _carried(
    files: Files, executables: Executables, programs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The plugins of the executables, as files of the bundle."""
    versions = {
        entry["platform"]: entry["plugin"]["version"]
        for one in programs
        for entry in one["executables"]
    }
    return [
        {
            "platform": platform,
            "version": version,
            "file": files.copy("plugins", Path(executables.plugins[platform].path), ".so"),
        }
        for platform, version in versions.items()
    ]
