"""Limits: whether a deployed function is small enough for its platform, before it is written."""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, NamedTuple

import serve
from lamda import errors

DATA = Path(__file__).with_name("limits.toml")


class Size(NamedTuple):
    """The bytes of a deployed function, unpacked."""

    runtime: int
    """The package ``serve``, and those that it imports."""
    plugin: int
    """The library of the plugin, which the function needs on its platform."""
    model: int
    """The other files of the bundle, its manifest too."""

    @property
    def total(self) -> int:
        """All together."""
        return sum(self)


@cache
def limits() -> dict[str, Any]:
    """What each platform takes, by its name."""
    data = tomllib.loads(DATA.read_text())
    return {name: entry for name, entry in data.items() if isinstance(entry, dict)}


def runtime(*, texts: bool = False) -> int:
    """The bytes of the package ``serve``, of msgpack, and of tokenizers where texts go in."""
    root = Path(serve.__file__).parent
    own = sum(p.stat().st_size for p in root.rglob("*") if p.suffix in (".py", ".so", ".typed"))
    return own + sum(map(_installed, ["msgpack", *(["tokenizers"] if texts else [])]))


def _installed(package: str) -> int:
    """The bytes of a package; none where it is not here."""
    try:
        paths = [Path(str(file.locate())) for file in files(package) or []]
    except PackageNotFoundError:
        return 0
    return sum(path.stat().st_size for path in paths if path.suffix != ".pyc" and path.is_file())


def of(platform: str) -> dict[str, Any]:
    """What a platform takes. Raises SpecError, with the platforms there are."""
    known = limits()
    if platform not in known:
        text = errors.UNKNOWN_PLATFORM.format(given=platform, known=", ".join(sorted(known)))
        raise errors.SpecError(text)
    return known[platform]


def require(size: Size, platform: str) -> None:
    """Refuse what is too large for a platform.

    Raises SpecError, with the exact excess, or with the platforms there are.
    """
    most = of(platform).get("package")
    if most is not None and size.total > most:
        raise errors.SpecError(errors.TOO_LARGE.format(
            platform=platform, most=most, total=size.total, excess=size.total - most,
            runtime=size.runtime, plugin=size.plugin, model=size.model,
        ))  # fmt: skip


def most(key: str, given: int, platform: str, what: str, unit: str, cure: str) -> None:
    """Refuse a number that is more than a platform takes; ``key`` is its name in the data.

    Raises SpecError, with the exact excess.
    """
    found = of(platform).get(key)
    allowed = found[1] if isinstance(found, list) else found
    if allowed is not None and given > allowed:
        raise errors.SpecError(errors.BEYOND_LIMIT.format(
            what=what, given=given, unit=unit, excess=given - allowed, most=allowed,
            platform=platform, cure=cure,
        ))  # fmt: skip


def least(key: str, given: int, platform: str, what: str, unit: str, cure: str) -> None:
    """Refuse a number that is less than a platform begins at. Raises SpecError, with the lack."""
    found = of(platform).get(key)
    if isinstance(found, list) and given < found[0]:
        raise errors.SpecError(errors.BELOW_LIMIT.format(
            what=what, given=given, unit=unit, lack=found[0] - given, least=found[0],
            platform=platform, cure=cure,
        ))  # fmt: skip
