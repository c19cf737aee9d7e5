"""Parts of Markdown files that follow from classes; `.venv/bin/python -m launch.show.document_tables` writes them.

A part stands between `<!-- from classes: NAME -->` and `<!-- end -->`; a test compares it with the classes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from corpora.readers.registry import READERS
from corpora.rows import Reader
from evaluation.benchmarks.registry import BENCHMARKS

ROOT = Path(__file__).parents[2]
FILES = tuple(ROOT / file for file in ("evaluation/benchmarks/README.md", "docs/data.md", "docs/evaluation.md"))
_PART = re.compile(r"(<!-- from classes: (?P<name>[a-z-]+) -->).*?(<!-- end -->)", re.DOTALL)


def benchmarks() -> str:
    """All benchmarks with what each counts."""
    rows = ((f"`{each.name}`", each.data_set, each.answer_rule, each.figures) for each in BENCHMARKS.values())
    return _table(("name", "data set", "one answer", "overall, and other figures"), rows)


def benchmark_names() -> str:
    return f"`{' '.join(BENCHMARKS)}`"


def readers() -> str:
    """All readers with what each reads, and its settings, required ones first."""

    def rows() -> Iterator[tuple[str, ...]]:
        for reader in READERS:
            common = {"type", *Reader.model_fields}
            own = [(name, field) for name, field in reader.model_fields.items() if name not in common]
            settings = ", ".join(f"`{name}`" for name, _ in sorted(own, key=lambda pair: not pair[1].is_required()))
            yield f"`{reader.model_fields['type'].default}`", reader.reads, settings

    return _table(("`type`", "what it reads", "settings"), rows())


PARTS: Mapping[str, Callable[[], str]] = {
    "benchmarks": benchmarks,
    "benchmark-names": benchmark_names,
    "readers": readers,
}


def with_parts(text: str) -> str:
    """The text of a Markdown file with its parts up to date."""
    return _PART.sub(lambda match: f"{match[1]}{PARTS[match['name']]()}{match[3]}", text)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(["", *lines, ""])


if __name__ == "__main__":
    for file in FILES:
        file.write_text(with_parts(file.read_text(encoding="utf-8")), encoding="utf-8")
