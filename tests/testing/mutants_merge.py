"""Mutants of merging: each a bug that one law must find."""

import sys
from collections.abc import Sequence
from typing import Any

import pytest
from mutant import Mutant

from lamda.model import Model
from lamda.tensor import Tensor
from lamda.testing.suites import merge as laws

Monkey = pytest.MonkeyPatch

merge = sys.modules["lamda.merge"]  # a function of the same name hides the module


def what_one_alone_changed_is_left(monkey: Monkey) -> None:
    def replayed(path: Any, base: Tensor, changed: Sequence[tuple[float, Tensor]]) -> Tensor:
        return original(path, base, changed) if len(changed) > 1 else base

    original = merge._replayed
    monkey.setattr(merge, "_replayed", replayed)


def the_first_version_is_the_base(monkey: Monkey) -> None:
    monkey.setattr(merge, "_common", lambda lineages: list(merge._back(lineages[0]))[-1])


def the_model_is_the_base(monkey: Monkey) -> None:
    monkey.setattr(merge, "_common", lambda lineages: lineages[0])


def scales_are_forgotten(monkey: Monkey) -> None:
    def scales(scale: Any, count: int) -> Sequence[float]:
        return [1.0] * count

    monkey.setattr(merge, "_scales", scales)


def the_later_lineage_wins(monkey: Monkey) -> None:
    monkey.setattr(merge, "_replayed", lambda path, base, changed: changed[-1][1])


def the_base_is_the_predecessor(monkey: Monkey) -> None:
    def succ(model: Model, new: Model) -> Model:
        return original(merge.pred(model) or model, new)

    original = merge.succ
    monkey.setattr(merge, "succ", succ)


MUTANTS = [
    Mutant(
        "merging leaves what one lineage alone has changed",
        laws.merging_what_comes_after_is_going_there,
        what_one_alone_changed_is_left,
    ),
    Mutant(
        "merging counts from the first version",
        laws.merging_is_idempotent,
        the_first_version_is_the_base,
    ),
    Mutant(
        "merging counts from the model itself",
        laws.merging_what_came_before_changes_nothing,
        the_model_is_the_base,
    ),
    Mutant(
        "merging forgets the scale",
        laws.merging_adds_what_was_changed,
        scales_are_forgotten,
    ),
    Mutant(
        "merging takes the weights of the last",
        laws.merging_commutes,
        the_later_lineage_wins,
    ),
    Mutant(
        "merging takes the last number",
        laws.merging_numerals_adds_them,
        the_later_lineage_wins,
    ),
    Mutant(
        "what is merged comes after the base",
        laws.merging_is_succession,
        the_base_is_the_predecessor,
    ),
]
