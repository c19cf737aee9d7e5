"""Tables in Markdown files that are made from classes; `.venv/bin/python -m launch.show.document_tables` writes them.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; a test compares it with the classes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from corpora.readers.registry import READERS
from corpora.rows import Reader
from evaluation.benchmarks.registry import BENCHMARKS

ROOT = Path(__file__).parents[2]
_TABLE = re.compile(r"(<!-- table: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def benchmarks() -> Iterator[tuple[str, ...]]:
    """All benchmarks with what each counts."""
    yield "name", "data set", "one answer", "overall, and other figures"
    for benchmark in BENCHMARKS.values():
        yield f"`{benchmark.name}`", benchmark.data_set, benchmark.answer_rule, benchmark.figures


def readers() -> Iterator[tuple[str, ...]]:
    """All readers with what each reads, and its settings, required ones first."""
    yield "`type`", "what it reads", "settings"
    for reader in READERS:
        common = {"type", *Reader.model_fields}
        own = [(name, field) for name, field in reader.model_fields.items() if name not in common]
        settings = ", ".join(f"`{name}`" for name, _ in sorted(own, key=lambda pair: not pair[1].is_required()))
        yield f"`{reader.model_fields['type'].default}`", reader.reads, settings


TABLES: Mapping[str, Callable[[], Iterator[tuple[str, ...]]]] = {"benchmarks": benchmarks, "readers": readers}
FILES = (ROOT / "evaluation" / "benchmarks" / "README.md", ROOT / "docs" / "data.md")


def with_tables(text: str) -> str:
    """The text of a Markdown file with its tables up to date."""
    return _TABLE.sub(lambda match: f"{match[1]}{_markdown(TABLES[match['name']]())}{match[3]}", text)


def _markdown(rows: Iterator[tuple[str, ...]]) -> str:
    head, *body = (" | ".join(cells) for cells in rows)
    rule = "---|" * (head.count(" | ") + 1)
    return "\n".join([f"| {head} |", f"|{rule}", *(f"| {row} |" for row in body), ""])


if __name__ == "__main__":
    for file in FILES:
        file.write_text(with_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
