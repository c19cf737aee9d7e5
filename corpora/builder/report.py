"""Counts of what a build made and what it left out: report.json, and the same as a table."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import Field
from rich.console import Console
from rich.table import Table

from spatial.dataset import Reject
from spatial.sample import ReasoningPath, SpatialSample
from spatial.strict import StrictModel


@dataclass
class RejectCounts:
    """Number of rejected rows by the field at fault, with the first such row as an example."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    """The first row of each, as "file:row: field: value: advice"."""

    def add(self, reject: Reject) -> None:
        self.counts[reject.field] = self.counts.get(reject.field, 0) + 1
        self.examples.setdefault(reject.field, str(reject))

    def merge(self, later: "RejectCounts") -> None:
        """Add the counts of later rows."""
        for name, number in later.counts.items():
            self.counts[name] = self.counts.get(name, 0) + number
            self.examples.setdefault(name, later.examples[name])


class Tally(StrictModel):
    """Counts over some images."""

    num_images: int = 0
    num_images_refused: int = 0
    """Images that could not be read."""
    num_images_without_question: int = 0
    """Images that were read and allow no clear question."""
    rejects: RejectCounts = Field(default_factory=RejectCounts)
    """Images and annotations that were left out, by the field at fault."""
    unasked: dict[str, dict[str, int]] = Field(default_factory=dict)
    """By kind: number of images where it was not asked, because no answer was clear ("unclear") or a clear one would
    not survive rounding ("rounding")."""
    rewrites: dict[ReasoningPath, dict[str, int]] = Field(default_factory=dict)
    """By path: number of chains that were rewritten ("kept"), and of those that were not, by reason."""


def merge(tallies: Iterable[Tally]) -> Tally:
    """The sum of the tallies, in order."""
    numbers: Counter[str] = Counter()
    rejects = RejectCounts()
    unasked: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rewrites: defaultdict[ReasoningPath, Counter[str]] = defaultdict(Counter)
    for tally in tallies:
        for name in ("num_images", "num_images_refused", "num_images_without_question"):
            numbers[name] += getattr(tally, name)
        rejects.merge(tally.rejects)
        for kind, counts in tally.unasked.items():
            unasked[kind].update(counts)
        for path, counts in tally.rewrites.items():
            rewrites[path].update(counts)
    return Tally(
        **numbers,
        rejects=rejects,
        unasked={kind: dict(sorted(unasked[kind].items())) for kind in sorted(unasked)},
        rewrites={path: dict(sorted(rewrites[path].items())) for path in sorted(rewrites)},
    )


class Report(StrictModel):
    """The counts of a whole build."""

    tally: Tally
    images: dict[str, int]
    """By split: number of images with at least one question."""
    questions: dict[str, int]
    """By split: number of questions."""
    chains: dict[str, dict[str, dict[ReasoningPath, int]]]
    """Number of chains by split, kind and path."""


class QuestionCounts:
    """Counts the questions of a build as they are written."""

    def __init__(self, splits: Iterable[str]) -> None:
        self._images: dict[str, set[bytes]] = {split: set() for split in splits}
        self._questions: Counter[str] = Counter()
        self._chains: Counter[tuple[str, str, ReasoningPath]] = Counter()

    def add(self, split: str, sample: SpatialSample) -> None:
        # Eight bytes are enough to tell apart any number of images that fits on a disk.
        self._images[split].update(bytes.fromhex(image.sha256[:16]) for image in sample.images)
        self._questions[split] += 1
        self._chains.update((split, sample.kind, path) for path in sample.chains)

    def report(self, tally: Tally) -> Report:
        chains: dict[str, dict[str, dict[ReasoningPath, int]]] = {split: {} for split in self._images}
        for (split, kind, path), number in sorted(self._chains.items()):
            chains[split].setdefault(kind, {})[path] = number
        return Report(
            tally=tally,
            images={split: len(images) for split, images in self._images.items()},
            questions={split: self._questions[split] for split in self._images},
            chains=chains,
        )


def print_report(report: Report, console: Console) -> None:
    """Chains by kind, path and split; below, what was left out and why."""
    console.print(_chain_table(report))
    tally = report.tally
    left_out = Table("left out", "number", "example", title="Left out", title_justify="left")
    left_out.add_row("images", str(tally.num_images_refused), "")
    left_out.add_row("images without a clear question", str(tally.num_images_without_question), "")
    for name, number in sorted(tally.rejects.counts.items()):
        left_out.add_row(name, str(number), tally.rejects.examples[name])
    for kind, counts in tally.unasked.items():
        left_out.add_row(kind, str(sum(counts.values())), _listed(counts))
    console.print(left_out, highlight=False)
    for path, counts in tally.rewrites.items():
        console.print(f"{path.value} chains rewritten: {_listed(counts)}", highlight=False)


def _chain_table(report: Report) -> Table:
    columns = [(split, path) for split in report.chains for path in (ReasoningPath.LOR, ReasoningPath.DTR)]
    heads = [f"{split} {path.value}" for split, path in columns]
    table = Table("kind", *heads, title="Chains of thought", title_justify="left")
    for kind in sorted({kind for kinds in report.chains.values() for kind in kinds}):
        table.add_row(kind, *(str(report.chains[split].get(kind, {}).get(path, 0)) for split, path in columns))
    table.add_section()
    totals = (sum(paths.get(path, 0) for paths in report.chains[split].values()) for split, path in columns)
    table.add_row("all", *map(str, totals))
    return table


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in counts.items())
