"""`sr-real data build`; `register` adds it to the sub-app `data`. Heavy modules are imported inside the command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from launch.run.outcomes import Stopped
from launch.settings.config import ConfigError, parse_settings, read_settings

if TYPE_CHECKING:
    from corpora.builder.config import BuildConfig

console = Console()


def register(app: typer.Typer) -> None:
    """Add the command to a typer app."""
    app.command("build")(build)


def build(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Settings, such as [bold]out=data/mine source.type=scenes source.num_images=1000[/]",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A YAML file of the same settings.", show_default=False)
    ] = None,
) -> None:
    """Make questions with chains of thought for both paths, by template, from images that are annotated in 3D.

    Needs `out` (a folder) and `source` (type scenes, or omni3d with file and images). With `rewrite.type=openai
    rewrite.base_url=… rewrite.model=…` a server rewords the thoughts; a rewording that fails a check is not used.

    Safe to stop and repeat: the same command continues where it stopped. Train on the folder with `data.type=files`.

    Example: sr-real data build out=data/mine source.type=scenes source.num_images=1000
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from corpora.builder.build import build_data
    from corpora.builder.errors import BuildError
    from corpora.builder.report import print_report
    from spatial.scenes.layout import NoSceneError

    settings = load_build_config(config, overrides or [])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("images", total=None)
            report = build_data(settings, lambda done, total: progress.update(task, completed=done, total=total))
    except KeyboardInterrupt:
        raise Stopped(f"building {settings.out}; the same command continues") from None
    except (BuildError, NoSceneError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    print_report(report, console)
    console.print(f"wrote {settings.out}", highlight=False)


def load_build_config(file: Path | None, overrides: list[str]) -> "BuildConfig":
    """A build's settings from a YAML file, if any, and dotted overrides.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, missing, or of a wrong type or value.
    """
    from corpora.builder.config import BuildConfig

    content = read_settings(file, overrides, BuildConfig, source="build")
    return parse_settings(content, BuildConfig, source="build: the settings cannot be used")
