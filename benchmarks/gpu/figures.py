"""Figures, one line of JSON each, written as soon as they are known."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

FILE = "gpu.jsonl"


@dataclass(frozen=True)
class Figure:
    """One measured number, or word of a part that has none to give."""

    part: str
    name: str
    value: float | str | None
    """None: the part was left out or failed, and `note` says why."""
    unit: str
    reference: float | None
    """What `value` is to be compared with: another way to do the same, the card's own limit, or an aim."""
    ratio: float | None
    """value / reference."""
    card: str
    note: str
    unix_time_s: float


class FigureFile:
    """Appends to `gpu.jsonl` in a folder. Several processes may write to one file."""

    def __init__(self, folder: Path, card: str) -> None:
        self._path = folder / FILE
        self._card = card

    def add(
        self,
        part: str,
        name: str,
        value: float | str | None,
        unit: str = "",
        *,
        reference: float | None = None,
        note: str = "",
    ) -> None:
        """Write a figure down, and print it."""
        is_number = isinstance(value, (int, float))
        ratio = _rounded(value / reference) if is_number and reference else None  # type: ignore[operator]
        figure = Figure(
            part=part,
            name=name,
            value=_rounded(value) if is_number else value,  # type: ignore[arg-type]
            unit=unit,
            reference=None if reference is None else _rounded(reference),
            ratio=ratio,
            card=self._card,
            note=note,
            unix_time_s=round(time.time(), 1),
        )
        line = json.dumps(asdict(figure)).encode() + b"\n"
        # One write each, so that lines of several processes do not mix; on disk before anything can kill the process.
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, line)
            os.fsync(file)
        finally:
            os.close(file)


def _rounded(value: float) -> float:
    """To five significant digits."""
    return float(f"{value:.5g}")


def read_figures(folder: Path) -> list[Figure]:
    """All figures of a folder, oldest first."""
    path = folder / FILE
    return [Figure(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def show(figures: list[Figure]) -> None:
    """Print a table of figures."""
    table = Table("part", "figure", "value", "unit", "reference", "ratio", "note")
    for figure in figures:
        numbers = ("–" if value is None else str(value) for value in (figure.value, figure.reference, figure.ratio))
        value, reference, ratio = numbers
        table.add_row(figure.part, figure.name, value, figure.unit, reference, ratio, escape(figure.note))
    Console(width=160).print(table)
