"""`sr-real data`: build, import and check data. Heavy modules load inside the commands."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from launch import data_build_cli
from launch.config import ConfigError, parse_settings, read_settings
from launch.options import console
from launch.schema import models_of_type

if TYPE_CHECKING:
    from corpora.importing import ImportConfig, ImportReport
    from spatial.sample import SpatialSample

app = typer.Typer(
    help="Data: [bold]import[/] sets of the field, [bold]build[/] questions and chains of thought from images that are "
    "annotated in 3D, and [bold]check[/] files of samples (docs/data.md).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
data_build_cli.register(app)

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings, such as [bold]out=data/spar type=spar file=/sets/spar images=/sets/spar/images[/]",
        show_default=False,
    ),
]
_NUM_SHOWN = 10


@app.command("import")
def import_sets(
    settings: Settings = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A YAML file: out, and readers with a type each.", show_default=False),
    ] = None,
) -> None:
    """Read data sets into a folder to train on (data.type=files): samples in three splits, images by their hash.

    Types: own, sr_real, spar, open_spatial, omni3d, embodied_scan, ca1m, hugging_face. Rows that are no sample are
    counted and named, up to max_bad_share. Nothing is fetched. Safe to repeat: the folder changes only at the end.

    Example: sr-real data import out=data/spar type=spar file=/sets/spar/train images=/sets/spar/images
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from corpora.columns import UnknownColumnError
    from corpora.importing import import_data

    wanted = load_import_config(config, settings or [])
    _check_paths(wanted)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} rows"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("rows", total=None)
            report = import_data(wanted, lambda number: progress.update(task, completed=number))
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    except UnknownColumnError as error:
        raise ConfigError(f"import: {error}") from None
    except IsADirectoryError as error:
        raise ConfigError(f"{error.filename}: is a folder, but this type reads a file; name the file in it") from error
    print_imported(report)
    console.print(f"wrote {wanted.out}", highlight=False)


def load_import_config(file: Path | None, settings: list[str]) -> "ImportConfig":
    """An import's settings from a YAML file, if any, and dotted ones; a single reader's may stand at the top.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, missing, or of a wrong type or value.
    """
    from corpora.importing import ImportConfig
    from corpora.read import READERS

    types = [text.partition("=")[2] for text in settings if text.startswith("type=")]
    reader = models_of_type(READERS, types[-1]) if types else []
    content = read_settings(file, settings, ImportConfig, *reader, source="import")
    if "type" in content:
        own = {key: content.pop(key) for key in list(content) if key not in ImportConfig.model_fields}
        content["readers"] = [own, *content.get("readers", [])]
    return parse_settings(content, ImportConfig, source="import: the settings cannot be used")


def _check_paths(config: "ImportConfig") -> None:
    """
    Raises:
        ConfigError: a file or folder that a reader is to read does not exist.
    """
    faults = []
    for index, reader in enumerate(config.readers):
        where = f"readers.{index}." if len(config.readers) > 1 else ""
        for field, path in reader:
            if isinstance(path, Path) and not path.exists():
                faults.append(f"{where}{field}={path}: there is no such file or folder ({path.absolute()})")
    if faults:
        raise ConfigError("\n  ".join(["import: nothing was read; correct the path:", *faults]))


def print_imported(report: "ImportReport") -> None:
    """What became of the rows."""
    for title, counts in (("split", report.splits), ("kind", report.kinds), ("path", report.paths)):
        _print_counts(title, counts)
    if report.rejects:
        _print_counts("left out, by cause", report.rejects)
        for cause in report.rejects:
            console.print(f"  {escape(report.examples[cause][0])}", highlight=False)
    for note in report.notes:
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A file with a sample a line (docs/data.md).")],
    images: Annotated[
        Path | None, typer.Option("--images", help="Its image store. Default: images/ beside the file.")
    ] = None,
    show: Annotated[int, typer.Option("--show", min=0, help="Number of samples to draw.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="The picture of them.")] = Path("samples.png"),
) -> None:
    """Check that every line of a file is a sample whose images are there; count what is in it, and say what is wrong.

    Exits with status 1 if a line is bad.

    Example: sr-real data check data/mine/train.jsonl --show 12
    """
    from corpora.own import OwnReader, read
    from launch.data_picture import draw_samples
    from spatial.dataset import Reject
    from spatial.images import ImageStore

    if not file.is_file():
        raise ConfigError(f"{file}: there is no such file")
    store = ImageStore(images or file.parent / "images")
    counts = {"kind": Counter[str](), "path": Counter[str](), "domain": Counter[str](), "answer": Counter[str]()}
    rejects: Counter[str] = Counter()
    chosen: list[SpatialSample] = []
    for item in read(OwnReader(file=file, images=store.root), store):
        if isinstance(item, Reject):
            rejects[item.field] += 1
            if rejects.total() <= _NUM_SHOWN:
                console.print(f"[red]bad[/] {escape(str(item))}", highlight=False)
            continue
        counts["kind"][item.kind] += 1
        counts["path"].update(path.value for path in item.paths)
        counts["domain"][item.domain] += 1
        counts["answer"][item.answer.type] += 1
        if len(chosen) < show:
            chosen.append(item)
    for title, found in counts.items():
        _print_counts(title, dict(found.most_common()))
    console.print(f"{counts['answer'].total():,} samples, {rejects.total():,} bad lines", highlight=False)
    if chosen:
        draw_samples(chosen, store, out)
        console.print(f"drew {len(chosen)} of them: {out}", highlight=False)
    raise typer.Exit(1 if rejects else 0)


def _print_counts(title: str, counts: dict[str, int]) -> None:
    table = Table(title, "number")
    table.columns[1].justify = "right"
    for name, number in _shortened(counts.items()):
        table.add_row(escape(name), f"{number:,}")
    console.print(table)


def _shortened(counts: Iterable[tuple[str, int]], most: int = 20) -> list[tuple[str, int]]:
    found = list(counts)
    rest = found[most:]
    return found[:most] + ([(f"… and {len(rest)} others", sum(number for _, number in rest))] if rest else [])
