"""`sr-real data check`: what is in a file of samples, which lines are bad, and what looks wrong in the others."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from launch.commands.data_tables import print_counts
from launch.commands.options import Overrides, console
from launch.settings.config import ConfigError, load_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corpora.checks.findings import Check, Finding
    from corpora.readers.native import NativeReader
    from spatial.dataset import Reject
    from spatial.images import ImageStore
    from spatial.sample import SpatialSample

_NUM_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command to a typer app."""
    app.command()(check)


def check(
    file: Annotated[Path, typer.Argument(help="A file with a sample a line (docs/data.md).")],
    settings: Overrides = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            help="A YAML file or preset: also check whether the samples fit into its engines; KEY=VALUE changes it.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", help="Its image store, or the folder of the files it names. Default: beside the file."
        ),
    ] = None,
    show: Annotated[int, typer.Option("--show", min=0, help="Number of samples to draw, suspicious ones first.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="The picture of them.")] = Path("samples.png"),
) -> None:
    """Check a file of samples: bad lines and images, and what looks wrong in the good ones.

    It looks for 3D centres in another frame or unit, answers that contradict the centres, marks without a region,
    chains that do not fit their sample, repeats, and answers that can be guessed. --show draws the centres as the
    camera projects them: they should lie in their boxes. Exits with status 1 if a line is bad or something looks wrong.

    With --config it counts the samples that a run with these settings could not use, by reason: too many image tokens,
    too much text, too many images. It names the longest and says which setting would fit them all.

    Examples: sr-real data check data/mine/train.jsonl --show 12 ·
    sr-real data check data/mine/train.jsonl --config qwen3vl_8gpu prompt.max_pixels=400000
    """
    from corpora.readers.native import NativeReader
    from spatial.images import ImageStore

    if not file.is_file():
        advice = (
            f"is a folder; name a file in it, such as {file / 'train.jsonl'}"
            if file.is_dir()
            else "there is no such file"
        )
        raise ConfigError(f"{file}: {advice}")
    if images is not None and not images.is_dir():
        raise ConfigError(f"--images {images}: there is no such folder")
    if settings and config is None:
        raise ConfigError(f"{' '.join(settings)}: settings are those of a run's config; name it with --config")
    reader = NativeReader(file=file, images=images)
    with tempfile.TemporaryDirectory() as folder:
        # Images that the file names, or that are not upright, go into the temporary store; the file's own is only read.
        store = ImageStore(Path(folder), also=[reader.store])
        with console.status(f"reading {file}"):
            more = [] if config is None else [_fit_check(config, settings or [], store)]
            result = _read(reader, store, show, more)
        _print(result)
        if result.chosen:
            from launch.show.data_picture import draw_samples

            draw_samples(result.chosen, store, out)
            console.print(f"drew {len(result.chosen)} samples: {out}", highlight=False)
    is_wrong = any(finding.is_wrong for finding in result.findings)
    raise typer.Exit(1 if result.rejects or is_wrong or not result.num_good else 0)


@dataclass
class _CheckResult:
    """Counts, rejects and findings of a file."""

    counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in ("kind", "path", "domain", "answer")}
    )
    rejects: Counter[str] = field(default_factory=Counter)
    """Number of bad lines by cause."""
    shown: "list[Reject]" = field(default_factory=list)
    """The first bad lines."""
    findings: "list[Finding]" = field(default_factory=list)
    chosen: "list[SpatialSample]" = field(default_factory=list)
    """Samples to draw."""

    def count(self, sample: "SpatialSample") -> None:
        self.counts["kind"][sample.kind] += 1
        self.counts["path"].update(path.value for path in sample.paths)
        self.counts["domain"][sample.domain] += 1
        self.counts["answer"][sample.answer.type] += 1

    @property
    def num_good(self) -> int:
        return self.counts["answer"].total()


def _fit_check(config: str, settings: list[str], store: "ImageStore") -> "Check":
    run_config = load_config(config, settings)
    from transformers.utils import logging

    from launch.commands.data_check_fit import FitCheck  # loads torch, which the other checks do without

    logging.disable_progress_bar()
    return FitCheck(run_config, store)


def _read(reader: "NativeReader", store: "ImageStore", num_shown: int, more: "Sequence[Check]") -> _CheckResult:
    from corpora.checks.suite import CheckSuite
    from spatial.dataset import Reject

    result, checks = _CheckResult(), CheckSuite(store, more)
    first: list[SpatialSample] = []
    suspicious: list[SpatialSample] = []
    for item in reader.read(store, as_stored=True):
        if isinstance(item, Reject):
            result.rejects[item.cause] += 1
            if result.rejects.total() <= _NUM_SHOWN:
                result.shown.append(item)
            continue
        result.count(item)
        chosen = suspicious if checks.add(item) else first
        if len(chosen) < num_shown:
            chosen.append(item)
    result.findings = checks.findings()
    result.chosen = [*suspicious, *first][:num_shown]
    return result


def _print(result: _CheckResult) -> None:
    for reject in result.shown:
        console.print(f"[red]bad line[/]: {escape(str(reject))}", highlight=False)
    for title, found in result.counts.items():
        print_counts(title, dict(found.most_common()))
    if result.rejects:
        print_counts("bad lines, by cause", dict(result.rejects.most_common()))
    for finding in result.findings:
        head = "[red]looks wrong[/]" if finding.is_wrong else "[yellow]note[/]"
        console.print(f"{head}: {escape(str(finding))}", highlight=False)
    num_wrong = sum(finding.is_wrong for finding in result.findings)
    nothing = "nothing else looks wrong" if result.rejects else "nothing looks wrong"
    verdict = {0: nothing, 1: "1 thing looks wrong"}.get(num_wrong, f"{num_wrong} things look wrong")
    console.print(f"{result.num_good:,} samples, {result.rejects.total():,} bad lines; {verdict}", highlight=False)
