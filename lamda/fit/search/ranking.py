"""Rankings: what a search found, best first."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lamda import errors
from lamda.model import Model

LONGEST = 40
"""Letters of a model in the table."""


class Trial(NamedTuple):
    """One candidate, trained with some settings."""

    model: Model
    """The successor of the candidate; of one that diverged, the last whose loss was finite."""
    settings: Mapping[str, object]
    """What its optimiser was made with."""
    loss: float
    """The mean loss over the last tenth of the steps; not finite where it diverged."""
    eval: float | None = None
    """The loss on the held-out data, where there is some."""
    metric: float | None = None
    """The metric on the held-out data, where one was asked for."""
    diverged: int | None = None
    """The step whose loss was not finite, from 1."""
    candidate: int = 0
    """The place of the candidate among those that were given."""


@dataclass(frozen=True)
class Ranking:
    """Trials, best first; those that diverged last. ``str()`` is a table of them."""

    rows: tuple[Trial, ...]
    by: str
    """What they are ranked by."""
    metric: str = "metric"
    """What the metric is called."""

    @property
    def best(self) -> Model:
        """The best model. Raises DivergedError where every one diverged."""
        first = self.rows[0]
        if first.diverged is not None:
            text = errors.SEARCH_DIVERGED.format(count=len(self.rows), step=first.diverged)
            error = errors.DivergedError(
                text, step=first.diverged, batch="", weights=first.model.weights
            )
            error.model = first.model
            raise error
        return first.model

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.rows)

    def __getitem__(self, place: int) -> Trial:
        return self.rows[place]

    def __str__(self) -> str:
        names = list(dict.fromkeys(name for row in self.rows for name in row.settings))
        head = ["", "candidate", *names, "loss", *self._columns()]
        cells = [head, *(self._cells(i, row, names) for i, row in enumerate(self.rows, 1))]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
        return "\n".join([f"{len(self.rows)} trained, best first by {self.by}", *lines])

    def _columns(self) -> list[str]:
        found = {"eval": self._has("eval"), self.metric: self._has("metric")}
        return [name for name, there in found.items() if there]

    def _has(self, field: str) -> bool:
        return any(getattr(row, field) is not None for row in self.rows)

    def _cells(self, place: int, row: Trial, names: list[str]) -> list[str]:
        wanted = [(row.eval, "eval"), (row.metric, "metric")]
        found = [_number(value) for value, field in wanted if self._has(field)]
        loss = _number(row.loss) if row.diverged is None else f"diverged at step {row.diverged}"
        settings = [_shown(row.settings.get(name, "")) for name in names]
        named = f"{row.candidate} {row.model}"
        named = named if len(named) <= LONGEST else f"{named[:LONGEST]}..."
        return [str(place), named, *settings, loss, *found]


def ranked(rows: list[Trial], metric: str | None, least: bool) -> Ranking:
    """The rows in order: by the metric, else by the loss on held-out data, else by that seen."""
    if metric is not None:
        by = f"the {'least' if least else 'greatest'} {metric} on held-out data"
    elif any(row.eval is not None for row in rows):
        by = "the least loss on held-out data"
    else:
        by = "the least loss in training"

    def score(row: Trial) -> tuple[bool, bool, float]:
        if metric is not None and row.metric is not None:
            value = row.metric if least else -row.metric
        else:
            value = row.loss if row.eval is None else row.eval
        finite = math.isfinite(value)
        return row.diverged is not None, not finite, value if finite else 0.0

    return Ranking(tuple(sorted(rows, key=score)), by, metric or "metric")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
