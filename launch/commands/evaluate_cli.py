"""`sr-real evaluate`: its options, and what it prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.config import EvaluationConfig
from launch.commands.options import Config, Overrides, console
from launch.commands.run_naming import RunOption, with_run
from launch.run.run_config import USE, config_for, with_run_of
from launch.settings.config import ConfigError, RunConfig
from launch.settings.model_paths import model_folder
from spatial.sample import ReasoningPath

if TYPE_CHECKING:
    from evaluation.benchmarks.benchmark import Benchmark
    from evaluation.report import Comparison, PathFigures, Report
    from launch.run.evaluations import ModelReport


def evaluate(
    overrides: Overrides = None,
    config: Config = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            help="Model (a Hugging Face folder); repeat it to compare several. Default: RUN/final_model.",
        ),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", help="Name of a benchmark. Default: the run's own held-out questions.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="The benchmark's files.")] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Frames per question of a video benchmark. Default: 16.")
    ] = None,
    paths: Annotated[
        str | None, typer.Option("--paths", help="Paths to ask, such as lor,dtr. Default: evaluation.paths.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=0, help="Sampled responses per question, besides the greedy one. For a benchmark: 0."
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", min=0.0, help="Temperature of the sampled responses; 0 asks greedily only."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Most questions to ask (held-out questions: per path).")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="results.json of an earlier evaluation to compare with.")
    ] = None,
    run: RunOption = None,
) -> None:
    """Evaluate models on held-out questions or a benchmark, with 95 % intervals, by path and task.

    Writes RUN/evaluations/NAME-MODEL/results.json and page.html. Several models are asked the same questions and
    compared question by question.

    Examples: sr-real evaluate run=runs/mine ·
    sr-real evaluate run=runs/mine --benchmark cv --folder /sets/CV-Bench --checkpoint A --checkpoint B
    """
    if folder is not None and not folder.exists() and (folder.is_absolute() or len(folder.parts) != 2):
        raise ConfigError(f"--folder {folder}: there is no such folder")  # and it is not a name on the hub either
    named = None if not model else [model_folder(path, "--checkpoint") for path in model]
    settings = config_for(USE, config, with_run_of(named or (), config, with_run(overrides, run)), console)
    evaluation = evaluation_of(settings, paths, samples, temperature, limit, is_benchmark=benchmark is not None)
    models = models_of(named, Path(settings.run))
    if (benchmark is None) != (folder is None):
        raise ConfigError("--benchmark and --folder (with its files) need each other: give both or neither")

    from evaluation.report import Report, ReportError
    from launch.run.evaluations import EvaluationRequest, run_evaluations

    try:
        baseline = None if against is None else Report.read(against)
    except ReportError as error:
        raise ConfigError(str(error)) from None
    request = EvaluationRequest(
        models=models,
        evaluation=evaluation,
        benchmark=None if benchmark is None else benchmark_of(benchmark, frames),
        folder=folder,
        limit=None if benchmark is None else limit,
        baseline=baseline,
    )
    print_reports(run_evaluations(settings, request, console), console)


def evaluation_of(
    config: RunConfig,
    paths: str | None,
    samples: int | None,
    temperature: float | None,
    limit: int | None,
    is_benchmark: bool,
) -> EvaluationConfig:
    """The config's evaluation with the options of the command line. By default all questions of a benchmark are asked,
    greedily.

    Raises:
        ConfigError: a path is unknown, or several samples are requested at temperature 0.
    """
    found = config.evaluation
    if is_benchmark:
        found = found.replace(num_samples=0, greedy=True, num_questions=None)
    elif limit is not None:
        found = found.replace(num_questions=limit)
    if paths is not None:
        known = [path.value for path in ReasoningPath]
        names = [name.strip() for name in paths.split(",")]
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"--paths {paths}: {', '.join(unknown)} is no path; known are {', '.join(known)}")
        found = found.replace(paths=tuple(dict.fromkeys(map(ReasoningPath, names))))
    if temperature == 0:
        if samples:
            raise ConfigError(f"--temperature 0 --samples {samples}: greedy responses are all the same; leave one out")
        return found.replace(num_samples=0, greedy=True)
    if temperature is not None:
        found = found.replace(temperature=temperature, num_samples=found.num_samples or 1)
    if samples is not None:
        found = found.replace(num_samples=samples, greedy=found.greedy or not samples)
    return found


def models_of(given: Sequence[Path] | None, run: Path) -> tuple[Path, ...]:
    """The models' folders.

    Raises:
        ConfigError: one is not a model's folder, or is given twice.
    """
    models = tuple(model_folder(path, "--checkpoint") for path in given or [run / "final_model"])
    if len(set(models)) < len(models):
        raise ConfigError("--checkpoint: the same folder is given twice; give different models to compare")
    return models


def benchmark_of(name: str, num_frames: int | None) -> "Benchmark":
    """The benchmark of this name.

    Raises:
        ConfigError: there is no such benchmark, or it does not use video frames.
    """
    from evaluation.benchmarks.registry import find_benchmark

    try:
        found = find_benchmark(name)
    except (KeyError, ValueError) as error:
        raise ConfigError(str(error.args[0] if error.args else error)) from None
    try:
        return found if num_frames is None else found.with_frames(num_frames)
    except ValueError as error:
        raise ConfigError(f"--frames {num_frames}: {error}") from None


def print_reports(reports: Sequence["ModelReport"], console: Console) -> None:
    """The figures of all models, then their comparisons, then the files."""
    from launch.show.summary import print_phases

    summaries = {Path(each.report.checkpoint).name: each.summary for each in reports if each.summary is not None}
    if len(summaries) == len(reports):
        print_phases({name: summary for name, summary in summaries.items() if summary is not None}, console)
    for each in reports:
        print_figures(each.report, console)
    for each in reports:
        for comparison in each.report.comparisons:
            print_comparison(each.report, comparison, console)
    for each in reports:
        console.print(f"{each.folder / 'page.html'}", highlight=False, soft_wrap=True)


def print_figures(report: "Report", console: Console) -> None:
    """A row per figure, a column per path and way of sampling; in per cent, with 95 % intervals."""
    table = Table(
        "%, 95 % interval",
        *(f"{column.path.upper()} {column.mode}" for column in report.figures),
        title=f"{escape(report.title)}: {escape(Path(report.checkpoint).name)}",
    )
    names = list(dict.fromkeys(name for column in report.figures for name in column.figures))
    for name in sorted(names, key=lambda name: name.startswith("task/")):
        table.add_row(escape(name), *(_shown(column, name) for column in report.figures))
    table.add_section()
    table.add_row("format kept", *(f"{100 * column.format_rate:.1f}" for column in report.figures))
    table.add_row("questions answered", *(str(column.num_questions) for column in report.figures))
    console.print(table)
    if report.num_failures:
        console.print(f"[yellow]{report.num_failures} responses failed[/], such as {escape(report.failures[0])}")


def print_comparison(report: "Report", comparison: "Comparison", console: Console) -> None:
    """Differences from the baseline, in percentage points."""
    names = f"{escape(Path(report.checkpoint).name)} − {escape(Path(comparison.baseline).name)}"
    table = Table(
        "points", "difference", "95 % interval", "p", title=f"{names}, {comparison.path.upper()} {comparison.mode}"
    )
    for name, each in comparison.figures.items():
        interval = f"[{100 * each.low:+.1f}, {100 * each.high:+.1f}]"
        table.add_row(escape(name), f"{100 * each.value:+.1f}", escape(interval), f"{each.p_value:.3f}")
    console.print(table)
    if comparison.mcnemar_p is not None:
        console.print(
            f"of {comparison.num_questions} questions {comparison.num_won} won and {comparison.num_lost} lost, "
            f"McNemar p = {comparison.mcnemar_p:.3f}",
            highlight=False,
        )


def _shown(column: "PathFigures", name: str) -> str:
    figure = column.figures.get(name)
    if figure is None:
        return "–"
    return escape(f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]")
