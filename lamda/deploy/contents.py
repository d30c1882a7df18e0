"""The files of a deployed function, by the paths that they have in it.

``serve/`` is the runtime, and ``msgpack/`` in pure Python, which any Python of any platform runs;
``bundle/`` is the bundle, and where it has no plugin, one lies where a known package would have it.
What decodes text or pictures comes along, unless pip brings it.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from lamda import errors
from lamda.compile.limits import Size
from serve.bundle import Bundle
from serve.runtime import plugins

SIGNATURES = "manifest.json.dsse"
EXTRAS = {"pillow": "image", "tokenizers": "text", "uvicorn": "http"}


class Contents(NamedTuple):
    """All that a function needs on a platform that has Python and nothing else."""

    runtime: dict[str, Path]
    packages: dict[str, Path]
    """What decodes text or pictures, for Linux on x86-64; empty where none go in."""
    plugin: dict[str, Path]
    model: dict[str, Path]

    @property
    def files(self) -> dict[str, Path]:
        """All of them."""
        return self.with_pip | self.packages

    @property
    def with_pip(self) -> dict[str, Path]:
        """Those that pip does not bring; :func:`requirements` says what it has to."""
        return self.runtime | self.plugin | self.model

    @property
    def size(self) -> Size:
        """Their bytes."""
        return Size(_bytes(self.runtime | self.packages), _bytes(self.plugin), _bytes(self.model))


def contents(bundle: Bundle) -> Contents:
    """What the deployed function of a bundle consists of.

    Raises SpecError where a plugin, or a package that decodes what goes in, is not installed.
    """
    runtime = _package("serve", ".py", ".so", ".typed", ".binpb") | _package("msgpack", ".py")
    packages = [item for name in _decoders(bundle) for item in _distribution(name)]
    return Contents(runtime, dict(packages), dict(_plugin(bundle)), dict(_model(bundle)))


def requirements(bundle: Bundle, *extras: str) -> str:
    """What else is installed where there is pip: a ``requirements.txt``, pinned to what is here.

    Raises SpecError where it is not here.
    """
    wanted = [*extras, *_decoders(bundle)]
    return "".join(f"{name}=={_installed(name).version}\n" for name in wanted)


def _decoders(bundle: Bundle) -> list[str]:
    text = [] if bundle.text is None else ["tokenizers"]
    return text if bundle.image is None else [*text, "pillow"]


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        text = errors.NOT_INSTALLED.format(package=name, extra=EXTRAS[name])
        raise errors.SpecError(text) from None


def _distribution(name: str) -> Iterator[tuple[str, Path]]:
    """The modules and libraries of a distribution, which may have several folders."""
    for file in _installed(name).files or ():
        if file.suffix == ".py" or ".so" in file.suffixes:
            yield file.as_posix(), Path(str(file.locate()))


def _package(name: str, *suffixes: str) -> dict[str, Path]:
    """The files of an installed package, which is not imported."""
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None
    root = Path(spec.origin).parent
    found = (path for path in sorted(root.rglob("*")) if path.suffix in suffixes)
    return {f"{name}/{path.relative_to(root).as_posix()}": path for path in found}


def _bytes(files: Mapping[str, Path]) -> int:
    return sum(path.stat().st_size for path in files.values())


def _plugin(bundle: Bundle) -> Iterator[tuple[str, Path]]:
    """That of the CPU: what these platforms have."""
    for carried in bundle.plugins:
        if carried["platform"] == "cpu":
            return
    found = plugins.find()
    if found is None:
        raise errors.SpecError(errors.NO_CPU_PLUGIN)
    yield plugins.KNOWN["cpu"][0], Path(found.path)


def _model(bundle: Bundle) -> Iterator[tuple[str, Path]]:
    root = Path(bundle.directory)
    yield "bundle/manifest.json", root / "manifest.json"
    if (root / SIGNATURES).exists():
        yield f"bundle/{SIGNATURES}", root / SIGNATURES
    for file in bundle.files():
        yield f"bundle/{file['path']}", Path(bundle.path(file))
