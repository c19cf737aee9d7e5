"""Tables of counts in data."""

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from launch.commands.options import console


def print_counts(title: str, counts: dict[str, int]) -> None:
    """A table of names and numbers; of many, the first ones and a sum of the others."""
    table = Table(title, "number")
    table.columns[1].justify = "right"
    for name, number in _shortened(counts.items()):
        table.add_row(escape(name), f"{number:,}")
    console.print(table)


def _shortened(counts: Iterable[tuple[str, int]], most: int = 20) -> list[tuple[str, int]]:
    found = list(counts)
    rest = found[most:]
    return found[:most] + ([(f"… and {len(rest)} others", sum(number for _, number in rest))] if rest else [])
