"""What each loop did when, step by step."""

from dataclasses import dataclass
from pathlib import Path

from dashboard.tail import GrowingFile
from spatial.json_lines import read_object


@dataclass(frozen=True)
class Span:
    """The time that a loop spent on one activity."""

    loop: str
    what: str
    start_s: float
    end_s: float
    """Both in Unix time."""


class Timeline:
    """`timeline.jsonl`: its lines are kept unparsed, and parsed when their steps are shown."""

    def __init__(self, file: Path) -> None:
        self._file = GrowingFile(file)
        self._lines: list[bytes] = []

    def refresh(self) -> None:
        """Read the lines that were added."""
        if self._file.was_replaced():
            self._lines.clear()
        self._lines += (line for _, line in self._file.new_lines())

    def last(self, num_steps: int) -> list[tuple[int, list[Span]]]:
        """The spans of the last `num_steps` steps, oldest first."""
        rows = map(read_object, self._lines[-num_steps:] if num_steps else [])
        return [(row["step"], [Span(*span) for span in row["spans"]]) for row in rows if row and "spans" in row]
