"""The layout: the file that says that a directory is a store, and of which version."""

from pathlib import Path

from lamda import errors
from lamda.store.checked import parsed
from lamda.store.files import LOCAL, write_file

FILE = "oci-layout"
TEXT = '{"imageLayoutVersion":"1.0.0"}'
FOLDERS = {LOCAL, "blobs", "refs", "versions", "quarantine", "signatures"}
PARTS = FOLDERS | {"index.json", "trusted.log"}


def require(root: Path) -> None:
    """Raises StoreError where something other than a store is there, or a newer one."""
    try:
        text = (root / FILE).read_text(errors="replace")
    except FileNotFoundError:
        return _require_empty(root)
    except NotADirectoryError:
        raise errors.StoreError(errors.FOREIGN.format(path=root, name=root.name)) from None
    if _version(text) != "1.0.0":
        told = {"path": root / FILE, "text": text[:200], "wanted": TEXT}
        raise errors.StoreError(errors.BAD_LAYOUT.format(**told))


def write(root: Path) -> None:
    """Say that this is a store."""
    if not (root / FILE).exists():
        write_file(root / FILE, TEXT.encode())


def _version(text: str) -> str | None:
    try:
        return parsed(text.encode())["imageLayoutVersion"]
    except (ValueError, TypeError, KeyError):
        return None


def _require_empty(root: Path) -> None:
    """A store that was not finished when the power was cut is one."""
    names = sorted(p.name for p in root.iterdir()) if root.exists() else []
    other = [n for n in names if n not in PARTS and not n.endswith(".tmp")]
    if other:
        raise errors.StoreError(errors.FOREIGN.format(path=root, name=other[0]))
