"""Signatures of bundles: ``manifest.json.dsse`` beside the manifest, an envelope a line."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamda import sign
from lamda.receipt import Receipt
from lamda.store.files import write_file
from serve import bundle
from serve.bundle import dsse, signed
from serve.errors import SignatureError


def sign_bundle(directory: str | Path, key: str | Path) -> str:
    """Sign the bundle that is there, beside those who signed it before; the keyid.

    Every file is hashed first. Raises ``serve.errors.BundleError`` where it is not whole, SpecError
    for a key that is none.
    """
    read = bundle.read(str(directory))
    read.verify()
    data = (Path(directory) / "manifest.json").read_bytes()
    (keyid,) = write(Path(directory), data, [key])
    return keyid


def write(
    directory: Path, manifest: bytes, keys: Sequence[str | Path], receipt: Receipt | None = None
) -> list[str]:
    """Write the signatures of a manifest; the keyids.

    Those of the manifest that is there stay, so that the new one can take its place in one step.
    """
    subject = hashlib.sha256(manifest).hexdigest()
    payload = sign.statement(subject, "manifest.json", _provenance(json.loads(manifest), receipt))
    made = dict(sign.envelope(payload, key) for key in keys)
    kept = [line for line in signed.lines(str(directory)) if _is_of(line, directory, subject)]
    lines = dict.fromkeys([*made.values(), *kept])
    write_file(directory / signed.FILE, b"\n".join([*lines, b""]))
    return list(made)


def _provenance(manifest: dict[str, Any], receipt: Receipt | None) -> dict[str, Any]:
    return {
        "address": manifest["address"],
        "pred": manifest["pred"],
        "programs": [program["stablehlo"]["digest"] for program in manifest["programs"]],
        "receipt": None if receipt is None else receipt.to_json(),
        "data": None if receipt is None else receipt.data,
    }


def _is_of(line: bytes, directory: Path, subject: str) -> bool:
    """Whether an envelope is about this manifest, or the one that is there now."""
    there = directory / "manifest.json"
    now = hashlib.sha256(there.read_bytes()).hexdigest() if there.exists() else subject
    try:
        return bool({subject, now} & set(signed.subjects(dsse.content(line, signed.FILE))))
    except SignatureError:
        return False


def vouched(directory: str | Path, keys: Sequence[Any]) -> dict[str, Any] | None:
    """The statement about a bundle that one of the keys signed; every file is hashed.

    Without keys nobody has to have signed it. Raises StoreError; ``serve.errors.BundleError`` where
    a file is not what the manifest says.
    """
    data = (Path(directory) / "manifest.json").read_bytes()
    found = None
    if keys:
        subject = hashlib.sha256(data).hexdigest()
        found = sign.require(signed.lines(str(directory)), subject, keys, str(directory))
        sign.require_address(found, json.loads(data)["address"], str(directory))
    bundle.read(str(directory)).verify()
    return found
