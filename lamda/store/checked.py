"""What is read from blobs is data of strangers: manifests and records are checked before use.

Their bytes are what the digest says; whether they say something that makes sense is told here.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lamda import errors, types
from lamda.store import media
from lamda.tensor import SAFETENSORS

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LARGEST = 1 << 62
AXES = 64
"""NumPy takes no more."""
VERSION = 2
"""The version of records."""

_ITEMSIZE = {name: int(re.sub(r"\D", "", name) or 8) // 8 for name in SAFETENSORS}
_NODES = ("lift", "compose", "branch", "pick", "named", "control")


def parsed(data: bytes) -> Any:
    """JSON. Raises ValueError for what is none, and for what is nested too deeply to be read."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def manifest(digest: str, data: bytes) -> dict[str, Any]:
    """The manifest of a version. Raises StoreError."""
    return _checked(errors.BAD_MANIFEST, digest, lambda: _manifest(parsed(data)))


def config(digest: str, data: bytes, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The record in a config blob, which fits its manifest. Raises StoreError."""
    return _checked(errors.BAD_CONFIG, digest, lambda: _config(parsed(data), manifest))


def _checked(text: str, digest: str, check: Callable[[], Any]) -> Any:
    try:
        return check()
    except errors.LamdaError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise errors.StoreError(text.format(digest=digest, why=why)) from error


def named(descriptor: Mapping[str, Any]) -> tuple[str, int]:
    """The digest and the size that a descriptor says. Raises KeyError, TypeError, ValueError."""
    return _digest(descriptor["digest"]), _number(descriptor["size"], "a size")


def _manifest(found: Any) -> dict[str, Any]:
    _need(isinstance(found, dict), "it is no JSON object")
    _need(isinstance(found["layers"], list), "its layers are no list")
    media.record(found)
    for each in (found["config"], *found["layers"]):
        named(each)
    _digest(found["annotations"][media.ADDRESS])
    return found


def _config(found: Any, manifest: Mapping[str, Any]) -> dict[str, Any]:
    record = found
    _need(isinstance(record, dict), "its record is no JSON object")
    if record["version"] != VERSION:
        why = f"its version is {record['version']!r}, not {VERSION}; use a newer lamda"
        raise ValueError(why)
    address = manifest["annotations"][media.ADDRESS]
    _need(record["address"] == address, f"its address is not {address}, which its manifest says")
    _need(isinstance(record["name"], str), "its name is no text")
    if record["pred"] is not None:
        _digest(record["pred"]["address"])
        _digest(record["pred"]["manifest"])
    said = manifest["annotations"].get(media.PRED)
    here = record["pred"] and record["pred"]["manifest"]
    _need(said == here, f"the version before it is {here}, and its manifest says {said!r:.100}")
    sizes = {layer["digest"]: layer["size"] for layer in manifest["layers"]}
    kind = record.get("kind", media.MODEL_KIND)
    _need(kind in (media.MODEL_KIND, media.DATA), f"its kind is {kind!r:.100}; use a newer lamda")
    (_shards if kind == media.DATA else _model)(record, sizes)
    return record


def _shards(record: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """What is said of the shards of a data set: all have rows of the type that the record says."""
    for side in ("input", "target"):
        _type(record[side], f"its {side}", sys.getrecursionlimit() // 4)
    tree = {side: types.from_json(record[side]) for side in ("input", "target")}
    wanted = [leaf for _, leaf in types.leaves(tree)]
    _need(record["shards"], "it has no shard")
    for entry in record["shards"]:
        _digest(entry["address"])
        count = _number(entry["count"], "the rows of a shard")
        for tensor in entry["tensors"]:
            _tensor(tensor, sizes)
        given = [(tensor["dtype"], tensor["shape"]) for tensor in entry["tensors"]]
        fits = given == [(leaf.dtype, [count, *leaf.shape[1:]]) for leaf in wanted]
        _need(fits, f"the shard {entry['address']} has rows of another type")
        if (records := entry["records"]) is not None:
            _tensor(records, sizes)
            of_digests = records["dtype"] == "uint8" and records["shape"][1:] == [32]
            _need(of_digests, f"the records of the shard {entry['address']} are no digests")
    rows = sum(entry["count"] for entry in record["shards"])
    _need(rows == record["rows"], f"it has {rows:,} rows, and says {record['rows']!r:.100}")
    alone = len(record["shards"]) < 2
    _need(
        alone == (record["pred"] is None), "the version before it has one shard less, and no other"
    )


def _model(record: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    for function in record["functions"]:
        _function(function, sizes)
    slots, functions = len(record["slots"]), len(record["functions"])
    for slot in record["slots"]:
        _need(isinstance(slot["frozen"], bool), "frozen is neither true nor false")
        _number(slot["token"], "a token", slots)
        for tensor in slot["tensors"]:
            _tensor(tensor, sizes)
    _need(len(record["term"]) > 0, "its term is empty")
    depths: list[int] = []
    for node in record["term"]:
        depths.append(_node(node, functions, slots, depths))
    _types(record, depths, sizes)


def _types(record: Mapping[str, Any], depths: list[int], sizes: Mapping[str, int]) -> None:
    """The rest of the top; and no deeper than Python goes."""
    limit = sys.getrecursionlimit() // 4
    why = f"its term is {max(depths):,} parts deep: raise sys.setrecursionlimit above 4 times that"
    _need(max(depths) <= limit, why)
    for side in ("input", "output"):
        _type(record[side], f"its {side}", limit)
    for function in record["functions"]:
        for side in ("input", "weights"):
            _type(function[side], f"the {side} of {function['name']}", limit)
    _need(record["receipt"] is None or isinstance(record["receipt"], dict), "its receipt is none")
    for name, program in record.get("programs", {}).items():
        _need(_digest(program) in sizes, f"the program {name} of its training is no layer")


def _type(value: Any, what: str, limit: int) -> None:
    """No deeper than Python goes; what is no type is told by what reads it."""
    _need(isinstance(value, dict), f"{what} is no type")
    level, depth = [value], 0
    while level:
        depth += 1
        _need(depth <= limit, f"{what} is nested too deeply")
        inner = [v.values() if isinstance(v, dict) else v for v in level]
        level = [each for v in inner for each in v if isinstance(each, dict | list)]


def _function(entry: Any, sizes: Mapping[str, int]) -> None:
    _need(isinstance(entry["name"], str), "the name of a function is no text")
    _need(isinstance(entry["digest"], str), "the digest of a function is no text")
    for key in ("program", *(["source"] if "source" in entry else [])):
        _need(_digest(entry[key]) in sizes, f"the {key} of {entry['name']} is no layer")


def _tensor(entry: Any, sizes: Mapping[str, int]) -> None:
    """One of perhaps ten thousand: nothing is said before something is wrong."""
    name, dtype, shape, blob = entry["path"], entry["dtype"], entry["shape"], entry["blob"]
    _need(isinstance(name, str), "the path of a tensor is no text")
    if blob not in sizes:
        raise ValueError(f"the blob of {name} is no layer: {_digest(blob)}")
    if dtype not in SAFETENSORS:
        raise ValueError(f"{dtype!r} of {name} is no dtype")
    if not isinstance(shape, list):
        raise ValueError(f"the shape of {name} is no list")
    if len(shape) > AXES:
        raise ValueError(f"{name} has {len(shape):,} axes, and an array has {AXES} at most")
    count = 1
    for axis in shape:
        count *= _number(axis, "an axis", LARGEST, name)
    start = _number(entry["offset"], "the offset", LARGEST, name)
    end, size = start + count * _ITEMSIZE[dtype], sizes[blob]
    if end > size:
        raise ValueError(f"{name} ends at byte {end:,} of a blob of {size:,}")
    if _digest(entry["digest"]) == blob and end != size:
        raise ValueError(f"{name} ends at byte {end:,}, and its blob at {size:,}")


def _node(node: Any, functions: int, slots: int, depths: list[int]) -> int:
    """Check a node of a term; how deep it is."""
    _need(isinstance(node, list) and node and node[0] in _NODES, f"{node!r:.80} is no term")
    kind, *rest = node
    if kind == "lift":
        function, slot = rest
        _number(function, "a function", functions)
        _need(slot is None or _number(slot, "a slot", slots) >= 0, "")
        return 1
    if kind == "pick":
        (key,) = rest
        _need(isinstance(key, str) or type(key) is int, f"{key!r:.80} is picked")
        return 1
    inner = rest if kind == "compose" else rest[1:]
    for number in inner:
        why = f"node {len(depths)} is made of node {number!r:.80}, which is not before it"
        _need(type(number) is int and 0 <= number < len(depths), why)
    return 1 + max((depths[n] for n in inner), default=0)


def _number(value: Any, what: str, below: int = LARGEST, of: str = "") -> int:
    if type(value) is int and 0 <= value < below:
        return value
    raise ValueError(f"{what}{of and ' of '}{of} is {value!r:.80}")


def _digest(value: Any) -> str:
    if isinstance(value, str) and DIGEST.fullmatch(value):
        return value
    raise ValueError(f"{value!r:.100} is no digest: sha256: and 64 hexadecimal digits")


def _need(holds: Any, why: str) -> None:
    if not holds:
        raise ValueError(why)
