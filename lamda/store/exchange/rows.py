"""Files of rows: what is added to a data set from .npz, safetensors, or records of feedback."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamda import errors
from lamda.data import DataSet
from lamda.store.exchange import records, safetensors

PARTS = {"inputs", "targets"}


def added(data: DataSet | None, path: str | Path) -> DataSet | None:
    """The data set with the rows of a file or directory; ``None`` stands for one without rows.

    A directory holds records of feedback, and those that the data set has rows of are passed over;
    where there are no others, it is the same data set. Raises SpecError, StoreError, OSError.
    """
    path = Path(path)
    if not path.is_dir():
        parts, names = tree(path, _read(path)), ()
    elif (found := records.gathered(path, data)) is not None:
        parts, names = tree(path, found.arrays), found.names
    else:
        return data
    inputs, targets = parts["inputs"], parts["targets"]
    if data is None:
        return DataSet.of(inputs, targets, names)
    return data.append(inputs, targets, names)


def _read(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a file, by name."""
    if path.suffix == ".safetensors":
        return safetensors.read(path)
    if path.suffix != ".npz":
        raise _bad(path, f"its name ends in {path.suffix!r}")
    try:  # what is pickled in it NumPy refuses, unless it is asked for
        with open(path, "rb") as file, np.load(file) as found:
            return dict(found)
    except (ValueError, EOFError, KeyError, NotImplementedError) as error:
        raise _bad(path, str(error)) from error
    except (zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise _bad(path, f"it is damaged: {error}") from error


def tree(path: Path, named: Mapping[str, Any]) -> dict[str, Any]:
    """Names like ``inputs/ids`` as trees; parts that are numbered from 0 on are a tuple's.

    Raises StoreError where they are not inputs and targets.
    """
    root: dict[str, Any] = {}
    for name, array in named.items():
        *folders, last = name.split("/")
        node = root
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise _bad(path, f"{name!r} is below what is an array")
        if last in node:
            raise _bad(path, f"{name!r} is an array, and has others below it")
        node[last] = array
    if root.keys() != PARTS:
        raise _bad(path, f"it has the names {', '.join(map(repr, sorted(named))) or 'of nothing'}")
    return {part: _tuples(node) for part, node in root.items()}


def _tuples(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    inner = {key: _tuples(each) for key, each in node.items()}
    numbers = [str(i) for i in range(len(inner))]
    return tuple(inner[key] for key in numbers) if inner.keys() == {*numbers} else inner


def _bad(path: Path, why: str) -> errors.StoreError:
    return errors.StoreError(errors.DATA_FILE.format(path=path, why=why))
