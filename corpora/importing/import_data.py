"""Import of data sets into a folder that training reads (`data: {type: files}`): three splits and their images."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from corpora.importing.splits import SPLITS, Splits, notes_on_empty
from corpora.readers.registry import AnyReader
from corpora.rows import known_ids, repeated
from spatial.dataset import BadDataError, Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from spatial.strict import StrictModel

Share = Annotated[float, Field(ge=0, le=1)]
_NUM_EXAMPLES = 5
_REPORT = "report.json"
_MIN_ROWS_JUDGED = 1000
"""The share of rejects is checked only from this row on: of a few rows, one bad row is a large share."""


class ImportConfig(StrictModel):
    """Which data sets are imported, and where to."""

    out: Path
    """The folder that gets train.jsonl, validation.jsonl, test.jsonl, images/ and report.json."""
    readers: Annotated[tuple[AnyReader, ...], Field(min_length=1)]
    """The data sets to read, each with its `type`. The settings of a single one may stand next to `out`."""
    validation_share: Share = 0.01
    """Share of the images for the validation split; above 0, at least one."""
    test_share: Share = 0.01
    """Share of the images for the test split; above 0, at least one. Samples with the same first image are in the
    same split."""
    max_bad_share: Share = 0.05
    """A larger share of rejects stops the import."""
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many samples, to try things out; null: read everything."""

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on")
        return self


class ImportReport(StrictModel):
    """Counts of samples and rejects; also written as report.json."""

    splits: dict[str, int]
    kinds: dict[str, int]
    domains: dict[str, int]
    paths: dict[str, int]
    num_rejects: int
    rejects: dict[str, int]
    """Number of rejects by cause, the most frequent first. A cause leaves out what differs between rows."""
    examples: dict[str, list[str]]
    """The first few rejects of each cause, as "file:row: field: value: advice"."""
    notes: list[str]
    """What to know before training on the data."""
    sha256: dict[str, str] = Field(default_factory=dict)
    """Hash of each split's file as written; a later import does not replace a file that was changed since."""


def import_data(config: ImportConfig, on_progress: Callable[[int], None] = lambda number: None) -> ImportReport:
    """Read all data sets into `config.out`, whose files are replaced only when everything is read. Safe to repeat.

    Args:
        on_progress: called every few hundred rows with the number of rows read so far.

    Raises:
        BadDataError: too many rows are bad, or there is nothing to train on; the message says what is wrong.
        FileNotFoundError: a file of a data set is missing.
    """
    partial = config.out / "incomplete"
    _refuse_others(config.out, partial)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    counts = {name: Counter[str]() for name in ("splits", "kinds", "domains", "paths", "rejects")}
    examples: dict[str, list[str]] = {}
    images = ImageStore(config.out / "images")
    shares = config.validation_share, config.test_share
    dealt = Splits(*shares)
    number = 0
    with ExitStack() as files:
        outputs = {split: partial / f"{split}.jsonl" for split in SPLITS}
        splits = {split: files.enter_context(file.open("w", encoding="utf-8")) for split, file in outputs.items()}
        is_new = files.enter_context(known_ids())
        for found in (found for reader in config.readers for found in reader.read(images)):
            number += 1
            item = found
            if isinstance(found, SpatialSample) and not is_new(found.sample_id):
                item = repeated(config.out, number, found, "a sample of an earlier set")
            if isinstance(item, Reject):
                counts["rejects"][item.cause] += 1
                shown = examples.setdefault(item.cause, [])
                shown += [str(item)] * (len(shown) < _NUM_EXAMPLES)
                if number >= _MIN_ROWS_JUDGED:
                    _judge(number, counts["rejects"], examples, config.max_bad_share)
            else:
                split = dealt.split_of(item)
                splits[split].write(item.model_dump_json() + "\n")
                counts["splits"][split] += 1
                counts["kinds"][item.kind] += 1
                counts["domains"][item.domain] += 1
                counts["paths"].update(path.value for path in item.paths)
            if number % 500 == 0:
                on_progress(number)
            if config.max_samples is not None and counts["splits"].total() >= config.max_samples:
                break
    on_progress(number)
    _judge(number, counts["rejects"], examples, config.max_bad_share)
    dealt.redeal(outputs, counts["splits"])
    if not counts["splits"]["train"]:
        raise BadDataError(_nothing(config, number, counts["rejects"], examples))
    report = ImportReport(
        **{name: dict(sorted(found.items())) for name, found in counts.items() if name != "rejects"},
        rejects=dict(counts["rejects"].most_common()),
        num_rejects=counts["rejects"].total(),
        examples=examples,
        notes=notes_on_empty(counts["splits"], *shares) + _note_on_turned(images),
        sha256={file.name: digest for file in outputs.values() if (digest := _digest(file))},
    )
    (partial / _REPORT).write_text(report.model_dump_json(indent=1) + "\n")
    # The report first: by it the next import recognises the other files as written by an import.
    for file in sorted(partial.iterdir(), key=lambda file: file.name != _REPORT):
        file.replace(config.out / file.name)
    partial.rmdir()
    return report


def _refuse_others(out: Path, partial: Path) -> None:
    """
    Raises:
        BadDataError: files that no import has written would be replaced.
    """
    ours = {*(f"{split}.jsonl" for split in SPLITS), _REPORT}
    taken = [] if (out / _REPORT).is_file() else [out / name for name in sorted(ours) if (out / name).exists()]
    taken += [file for file in partial.glob("*") if file.name not in ours]
    if taken or partial.is_symlink():
        raise BadDataError(
            f"{out} holds files that no import has written ({', '.join(map(str, taken or [partial]))}), and they would "
            "be replaced: give another folder with out=…"
        )
    changed = [str(out / name) for name, digest in _written(out).items() if _digest(out / name) not in (digest, None)]
    if changed:
        raise BadDataError(
            f"{', '.join(changed)}: changed since the import that wrote it, and it would be replaced; move it away, or "
            "give another folder with out=…"
        )


def _written(out: Path) -> dict[str, str]:
    """The hash of each file that an earlier import wrote, from its report."""
    try:
        return ImportReport.model_validate_json((out / _REPORT).read_text()).sha256
    except (OSError, ValueError):
        return {}


def _digest(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _note_on_turned(images: ImageStore) -> list[str]:
    if not images.num_turned:
        return []
    return [
        f"{images.num_turned} image files lay on their side (EXIF orientation) and were stored upright; boxes and "
        "points of their samples are taken to count the pixels of the upright image, as viewers show it"
    ]


def _judge(number: int, rejects: Counter[str], examples: dict[str, list[str]], max_bad_share: float) -> None:
    if rejects.total() > max_bad_share * number:
        head = f"{rejects.total()} of {number} rows are bad, and at most {max_bad_share:.1%} may be (max_bad_share):"
        shown = [
            f"{count} × {cause}\n    such as {examples[cause][0]}"
            for cause, count in rejects.most_common(_NUM_EXAMPLES)
        ]
        raise BadDataError("\n  ".join([head, *shown]))


def _nothing(config: ImportConfig, number: int, rejects: Counter[str], examples: dict[str, list[str]]) -> str:
    read_from = ", ".join(str(getattr(reader, "file", None) or getattr(reader, "hub", "")) for reader in config.readers)
    if not number:
        return f"{read_from}: there is no row in it; check that it is the right file"
    worst = "".join(f", such as {examples[field][0]}" for field, _ in rejects.most_common(1))
    return f"{read_from}: none of {number} rows is a sample to train on{worst}"
