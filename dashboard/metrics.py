"""A run's metrics by step, as columns: small in memory, fast to draw."""

import math
from array import array
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dashboard.tail import GrowingFile
from spatial.json_lines import read_object

Series = Float[ndarray, " steps"]


class MetricsTable:
    """`metrics.jsonl` by column. A metric that a step does not have is NaN; lines that are not steps are skipped."""

    def __init__(self, file: Path) -> None:
        self._file = GrowingFile(file)
        self._columns: dict[str, array[float]] = {}
        self.num_steps = 0
        self.generation = 0
        """How many times the file was replaced. Drawings of an earlier generation are out of date."""

    def refresh(self) -> None:
        """Read the lines that were added."""
        if self._file.was_replaced():
            self._columns.clear()
            self.num_steps = 0
            self.generation += 1
        for _, line in self._file.new_lines():
            row = read_object(line)
            if row is not None and isinstance(row.get("step"), int):
                self._append(row)

    def _append(self, row: Mapping[str, object]) -> None:
        for name, value in row.items():
            if isinstance(value, int | float) and math.isfinite(value):
                column = self._columns.get(name)
                if column is None:
                    column = self._columns[name] = array("d", [math.nan]) * self.num_steps
                column.append(value)
        self.num_steps += 1
        for column in self._columns.values():
            if len(column) < self.num_steps:
                column.append(math.nan)

    @property
    def names(self) -> list[str]:
        return sorted(self._columns)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def column(self, name: str) -> Series:
        """The values of all steps, in order; all NaN if no step has it."""
        if name not in self._columns:
            return np.full(self.num_steps, np.nan)
        return np.array(self._columns[name])

    def latest(self, name: str) -> float | None:
        """The last step's value; None if it has none."""
        column = self._columns.get(name)
        return None if not column or math.isnan(column[-1]) else column[-1]

    def as_csv(self) -> Iterator[str]:
        """A header, then a line for each step; a metric that a step does not have is empty."""
        names = ["step", *(name for name in self.names if name != "step")]
        yield ",".join(names) + "\n"
        columns = [self._columns.get(name) or array("d", [math.nan]) * self.num_steps for name in names]
        for values in zip(*columns, strict=True):
            yield ",".join("" if math.isnan(value) else f"{value:.10g}" for value in values) + "\n"


def thinned(steps: Series, values: Series, num_points: int) -> tuple[Series, Series]:
    """At most about `num_points` points with the same outline: the smallest and largest value of each of equal parts.

    NaNs are left out, so that a line continues across steps without a value.
    """
    is_there = ~np.isnan(values)
    steps, values = steps[is_there], values[is_there]
    if len(values) <= num_points:
        return steps, values
    num_parts = num_points // 2
    edges = np.linspace(0, len(values), num_parts + 1).astype(int)
    kept = {0, len(values) - 1}
    for start, end in pairwise(edges):
        kept |= {start + int(values[start:end].argmin()), start + int(values[start:end].argmax())}
    chosen = np.array(sorted(kept))
    return steps[chosen], values[chosen]
