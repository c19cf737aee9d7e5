"""`sr-real data`: build, import and check data. Heavy modules are imported inside the commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from launch.commands import data_build_cli, data_check_cli
from launch.commands.data_tables import print_counts
from launch.commands.options import console
from launch.settings.config import ConfigError, parse_settings, read_settings
from launch.settings.schema import models_of_type
from launch.settings.targets import check_writable

if TYPE_CHECKING:
    from corpora.importing.import_data import ImportConfig, ImportReport

app = typer.Typer(
    help="Data: [bold]import[/] published sets, [bold]build[/] questions and chains of thought from images that are "
    "annotated in 3D, and [bold]check[/] files of samples (docs/data.md).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
data_build_cli.register(app)
data_check_cli.register(app)

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings, such as [bold]out=data/spar type=spar file=/sets/spar images=/sets/spar/images[/]",
        show_default=False,
    ),
]


class _ImportCommand(TyperCommand):
    """Lists the readers in its help, for which alone they are imported."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # typer keeps their types to itself
        from corpora.readers.registry import READER_TYPES

        assert self.help is not None
        self.help = self.help.replace("TYPES", ", ".join(READER_TYPES))
        super().format_help(ctx, formatter)


@app.command("import", cls=_ImportCommand)
def import_sets(
    settings: Settings = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A YAML file: out, and readers, each with its type.", show_default=False),
    ] = None,
) -> None:
    """Read data sets into a folder to train on (data.type=files): samples in three splits, images by their hash.

    Types: TYPES.

    Bad rows are left out and counted by cause, up to max_bad_share. Nothing is downloaded. The command can be repeated
    safely: the folder changes only at the end.

    Example: sr-real data import out=data/spar type=spar file=/sets/spar/train images=/sets/spar/images
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from corpora.importing.import_data import import_data
    from corpora.layouts.columns import UnknownColumnError

    wanted = load_import_config(config, settings or [])
    _check_paths(wanted)
    check_writable(wanted.out)
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
    except OSError as error:
        where = error.filename or wanted.out
        raise ConfigError(f"import: {where}: {error.strerror or error}; what was there before is unchanged") from error
    print_imported(report)
    console.print(f"wrote {wanted.out}", highlight=False)


def load_import_config(file: Path | None, settings: list[str]) -> "ImportConfig":
    """An import's settings from a YAML file, if any, and dotted overrides; those of a single reader may be at the top.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, missing, or of a wrong type or value.
    """
    from corpora.importing.import_data import ImportConfig
    from corpora.readers.registry import READERS

    types = [text.partition("=")[2] for text in settings if text.startswith("type=")]
    reader = models_of_type(READERS, types[-1]) if types else []
    content = read_settings(file, settings, ImportConfig, *reader, source="import")
    is_single = "type" in content
    if is_single:
        own = {key: content.pop(key) for key in list(content) if key not in ImportConfig.model_fields}
        content["readers"] = [own, *content.get("readers", [])]
    try:
        return parse_settings(content, ImportConfig, source="import: the settings cannot be used")
    except ConfigError as error:
        # Errors name a single reader's settings as they were given, at the top.
        raise ConfigError(str(error).replace("readers.0.", "") if is_single else str(error)) from None


def _check_paths(config: "ImportConfig") -> None:
    """
    Raises:
        ConfigError: a file or folder of a reader does not exist.
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
    """Counts of samples, and of rows that were left out."""
    for title, counts in (("split", report.splits), ("kind", report.kinds), ("path", report.paths)):
        print_counts(title, counts)
    if report.rejects:
        print_counts("left out, by cause", report.rejects)
        for cause in report.rejects:
            console.print(f"  {escape(report.examples[cause][0])}", highlight=False)
    for note in report.notes:
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
