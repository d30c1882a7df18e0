"""``deploy``: one bundle, written as one platform takes it."""

import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import serve.bundle
from lamda import errors
from lamda.compile import limits
from lamda.deploy.contents import contents
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.platforms import PLATFORMS, Way
from serve.bundle import Bundle
from serve.bundle.manifest import nbytes
from serve.types import leaves

KEPT = 47
"""Letters of a name: with a tag there is room for it in the 63 of a DNS label."""

MB = 1 << 20
ROOM = 256
"""MB beside the weights: small models were seen to take 90 to 190 MB in all."""


class Deployed(NamedTuple):
    """What :func:`deploy` wrote."""

    directory: Path
    files: tuple[str, ...]
    """Paths in the directory, sorted."""
    command: tuple[str, ...]
    """What to run next, a line each: the platform's own tool."""


def deploy(
    platform: str,
    bundle: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    registry: str | None = None,
    memory: int | None = None,
    timeout: int | None = None,
    container: bool = False,
) -> Deployed:
    """Write all that the tool of a platform needs to deploy the bundle in a directory.

    ``name`` is what the function is called, the name of the bundle otherwise, cut to what every
    platform takes. ``registry`` is where images are pushed to. ``memory`` is in MB, ``timeout`` in
    seconds. With ``container=True``, a platform that takes a zip as well as an image gets an image.

    The same bundle has the same files, to the byte, in any directory.

    Raises SpecError: there is no such platform, or a limit that it documents would be broken, and
    by how much, before anything is written; BundleError where the directory is no bundle.
    """
    chosen = way_to(platform, container)
    read, root = serve.bundle.read(str(bundle)), Path(out)
    if root.resolve() == Path(bundle).resolve():
        raise errors.SpecError(errors.INTO_BUNDLE.format(path=root.resolve()))
    called = _name(name or read.name)
    function = Function(
        called, read, contents(read), _image(called, read.address, registry),
        memory or max(chosen.memory, ROOM + _weights(read) // MB), timeout or chosen.timeout,
    )  # fmt: skip
    if chosen.limit is not None:
        _keep(function, chosen.limit)
    root.mkdir(parents=True, exist_ok=True)
    # Files are written apart and then moved: what is refused on the way leaves nothing behind.
    try:
        with tempfile.TemporaryDirectory(dir=root, prefix=".draft-") as draft:
            folder = Folder(Path(draft, "out"), Path(draft), function)
            chosen.write(function, folder)
            _move(folder.root, root)
    except errors.SpecError:
        with suppress(OSError):
            root.rmdir()  # if nothing else was in it
        raise
    command = [line.format(out=quote(str(root)), **function.values) for line in chosen.command]
    return Deployed(root, tuple(sorted(folder.names)), tuple(command))


def way_to(platform: str, container: bool) -> Way:
    """How a bundle gets there. Raises SpecError where it does not."""
    if platform not in PLATFORMS:
        known = ", ".join(PLATFORMS)
        raise errors.SpecError(errors.UNKNOWN_DEPLOYMENT.format(given=platform, known=known))
    ways: Sequence[Way] = PLATFORMS[platform]
    if container and len(ways) == 1:
        raise errors.SpecError(errors.NO_CONTAINER.format(platform=platform))
    return ways[-1] if container else ways[0]


def _name(text: str) -> str:
    """A label of DNS: what every platform takes as a name.

    >>> _name("News: naïve_v2")
    'news-na-ve-v2'
    """
    label = re.sub("[^a-z0-9]+", "-", text.lower())[:KEPT].strip("-")
    return label if label[:1].isalpha() else f"model-{label}".strip("-")


def _image(name: str, address: str, registry: str | None) -> str:
    """The image is called by the model's address: another version is another image."""
    prefix = f"{registry.rstrip('/')}/" if registry else ""
    return f"{prefix}{name}:{address.removeprefix('sha256:')[:12]}"


def _keep(function: Function, platform: str) -> None:
    """Refuse what breaks a limit of the platform."""
    limits.require(function.contents.size, platform)
    memory = function.memory
    limits.most("memory", memory, platform, "the function asks for", "MB", "Give memory= less.")
    limits.least("memory", memory, platform, "the function asks for", "MB", "Give memory= more.")
    limits.most(
        "memory", _weights(function.bundle) // MB, platform, "the weights have", "MB",
        "Quantise them, or choose a platform that takes more.",
    )  # fmt: skip
    limits.most(
        "timeout", function.timeout, platform, "an answer may take", "seconds",
        "Give timeout= less.",
    )  # fmt: skip
    limits.most(
        "request", _smallest(function.bundle), platform, "the smallest request has", "bytes",
        "Give the model a smaller input, or choose a platform that takes more.",
    )  # fmt: skip


def _weights(bundle: Bundle) -> int:
    """Bytes of the weights, which are in memory when it answers."""
    return sum(pack["size"] for pack in bundle.packs)


def _smallest(bundle: Bundle) -> int:
    """The bytes of a request of one row, each named dimension 1, in the densest form there is."""
    found = leaves(bundle.input)
    return sum(nbytes(x.dtype, [d if isinstance(d, int) else 1 for d in x.dims]) for x in found)


def _move(draft: Path, root: Path) -> None:
    """Put what was written in its place; what else is there stays."""
    for path in sorted(draft.iterdir()):
        target = root / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
