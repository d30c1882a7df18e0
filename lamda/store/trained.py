"""Receipts in a store: a version is found by what went into its training.

What is of this machine has a note for each version that has a receipt. Notes only say where to
look: what a version is, its record says; and where they are lost they are made again.
"""

import contextlib
from pathlib import Path
from typing import Any

from lamda import errors
from lamda.receipt import Receipt
from lamda.store import layout
from lamda.store.datasets import DataSets
from lamda.store.files import LOCAL

RECEIPTS = f"{LOCAL}/receipts"


class Trained(DataSets):
    """A store as it knows what was trained."""

    def admit(self, manifest: str, address: str) -> str:
        """Make a version one of the store's; it is found by its receipt too, where it has one."""
        admitted = super().admit(manifest, address)
        if (self.path / RECEIPTS).is_dir():  # else all are looked at when the first is looked for
            self._note_receipt(manifest)
        return admitted

    def _trained(self, receipt: Receipt) -> str | None:
        """The version that a run with these inputs gave, where one is here."""
        if not (self.path / RECEIPTS).is_dir():
            self._note_receipts()
        folder = self._notes_of(receipt)
        for note in sorted(folder.iterdir()) if folder.is_dir() else []:
            manifest = f"sha256:{note.name}"
            if (found := self._receipt(manifest)) is None:  # it was collected
                note.unlink(missing_ok=True)
            elif found.address == receipt.address and self._whole(manifest):
                return manifest
        return None

    def _note_receipts(self) -> None:
        (self.path / RECEIPTS).mkdir(parents=True, exist_ok=True)
        for note in layout.notes(self.path):
            self._note_receipt(f"sha256:{note.name}")

    def _note_receipt(self, manifest: str) -> None:
        if (receipt := self._receipt(manifest)) is not None:
            folder = self._notes_of(receipt)
            folder.mkdir(exist_ok=True)
            (folder / manifest.removeprefix("sha256:")).touch()

    def _receipt(self, manifest: str) -> Receipt | None:
        # What can not be read is not the one that is looked for.
        with contextlib.suppress(errors.LamdaError, KeyError, TypeError, ValueError):
            said: Any = self.config(manifest).get("receipt")
            return None if said is None else Receipt.from_json(said)
        return None

    def _notes_of(self, receipt: Receipt) -> Path:
        return self.path / RECEIPTS / receipt.address.removeprefix("sha256:")
