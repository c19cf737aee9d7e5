"""Evaluations of models, on a benchmark or on the run's own held-out questions: ask, score, compare, write."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from actors.phases.parts import samples_of
from actors.run.run_folder import RunFolder
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.config import EvaluationConfig
from evaluation.exam import Exam
from evaluation.held_out import questions_of, report_of, score_held_out
from evaluation.held_out_report import ScoredResponse, summary_of
from evaluation.page import write_page
from evaluation.report import (
    Comparison,
    Report,
    ReportError,
    Settings,
    compare_reports,
    differing_settings,
    make_report,
)
from evaluation.responses import Response, Responses
from launch.run.driver import Driver
from launch.run.exams import check_fit, read_exam
from launch.run.prepare import prepare_folder
from launch.run.ready import Needs
from launch.settings.config import ConfigError, RunConfig
from rewards.custom import load_reward
from spatial.images import ImageStore


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and on which questions."""

    models: tuple[Path, ...]
    evaluation: EvaluationConfig
    benchmark: Benchmark | None = None
    """None: the run's own held-out questions."""
    folder: Path | None = None
    """The folder of the benchmark's files."""
    limit: int | None = None
    """Most questions of the benchmark; None: all."""
    baseline: Report | None = None
    """An earlier report to compare with."""


@dataclass(frozen=True)
class ModelReport:
    """One model's report and its folder."""

    report: Report
    folder: Path
    summary: dict[str, Any] | None
    """The same figures as in `summary.json`; None for a benchmark."""


def run_evaluations(config: RunConfig, request: EvaluationRequest, console: Console) -> list[ModelReport]:
    """Ask every model the same questions, one model after the other, through the engine pool.

    Each model's results.json, page.html and config.json are written as soon as it has answered; comparisons are
    added at the end.

    Raises:
        ConfigError: the benchmark's files are missing, its questions do not fit the engines, or the reports cannot be
            compared.
        BadDataError: too many of the benchmark's rows are bad.
    """
    run_folder = RunFolder(Path(config.run).resolve())
    # The images of a benchmark do not belong to the run's data.
    images = run_folder.images if request.benchmark is None else run_folder.benchmark_images
    exam = None
    prepare_folder(run_folder)
    if request.benchmark is not None:
        assert request.folder is not None
        exam = read_exam(config, request.benchmark, request.folder, request.limit, images, console)
    reports: list[ModelReport] = []
    from launch.run.start_checks import check_questions  # loads torch: not needed to refuse a faulty config

    with Driver(config, console, Needs(data=request.benchmark is None, model=False)) as run:
        if exam is None:
            exam = _own_exam(config, request.evaluation, run_folder)
        check_fit(exam, request.evaluation.paths, config)
        check_questions(config, exam.samples, request.evaluation.paths, request.models[0], images)
        for model in request.models:
            responses = run.evaluate(model, exam.samples, request.evaluation, images)
            with console.status(f"figures of {model.name}, with their intervals"):
                reports.append(_report(config, request, exam, responses, model, run_folder))
            _write(reports[-1], exam, images)
            (reports[-1].folder / "config.json").write_text(config.model_dump_json(indent=1) + "\n")
    with console.status("comparisons"):
        return [_with_comparisons(each, reports, request, exam, images, console) for each in reports]


def slug(model: Path, run: Path) -> str:
    """The name of a model's folder of results: its path in the run, or its name with a hash if it is elsewhere."""
    inside = model.is_relative_to(run)
    parts = model.relative_to(run).parts if inside else model.parts[-2:]
    name = re.sub(r"[^\w.-]+", "_", "-".join(parts)).strip("_") or "model"
    return name if inside else f"{name}-{hashlib.sha256(str(model).encode()).hexdigest()[:6]}"


def _own_exam(config: RunConfig, evaluation: EvaluationConfig, folder: RunFolder) -> Exam:
    samples = samples_of(config, folder, "test")
    asked = {sample.sample_id for of_path in questions_of(samples, evaluation).values() for sample in of_path}
    return Exam.held_out([sample for sample in samples if sample.sample_id in asked])


def _report(
    config: RunConfig,
    request: EvaluationRequest,
    exam: Exam,
    responses: Responses[Response],
    model: Path,
    folder: RunFolder,
) -> ModelReport:
    evaluation, training = request.evaluation, config.rollout.sampling
    settings = Settings(
        benchmark=exam.rule.name,
        folder=None if request.folder is None else str(request.folder),
        paths=evaluation.paths,
        num_samples=evaluation.num_samples,
        temperature=evaluation.temperature or training.temperature,
        greedy=evaluation.greedy,
        seed=evaluation.seed,
        max_response_tokens=training.max_response_tokens,
        limit=request.limit,
        prompt=config.prompt.model_dump(mode="json"),
    )
    report = make_report(exam, responses, str(model), settings)
    summary = _summary(config, exam, responses) if request.benchmark is None else None
    target = folder.evaluations / f"{exam.rule.name}-{slug(model, folder.root)}"
    return ModelReport(report, target, summary)


def _summary(config: RunConfig, exam: Exam, responses: Responses[Response]) -> dict[str, Any]:
    """The figures that the cold start and RL report too, with rewards and centres."""
    reward = load_reward(config.rewards)
    samples = {sample.sample_id: sample for sample in exam.samples}
    kept = [score_held_out(r.text, r.path, samples[r.sample_id], r.is_greedy, reward) for r in responses.succeeded]
    scored = Responses(
        num_questions=responses.num_questions,
        succeeded=tuple(each for each in kept if isinstance(each, ScoredResponse)),
        failed=(*responses.failed, *(each for each in kept if not isinstance(each, ScoredResponse))),
        seconds=responses.seconds,
    )
    return summary_of(report_of(scored, config.evaluation.seed), responses.seconds)


def _with_comparisons(
    this: ModelReport,
    reports: Sequence[ModelReport],
    request: EvaluationRequest,
    exam: Exam,
    images: Path,
    console: Console,
) -> ModelReport:
    """`this` report, compared with the baseline and with each model that was named before it."""
    earlier = [first.report for first, second in combinations(reports, 2) if second is this]
    baselines = [*([request.baseline] if request.baseline is not None else []), *earlier]
    if not baselines:
        return this
    comparisons: list[Comparison] = []
    for baseline in baselines:
        if differing := differing_settings(baseline.settings, this.report.settings):
            console.print(
                f"[yellow]{escape(baseline.checkpoint)} was asked differently[/]: {escape(', '.join(differing))}",
                highlight=False,
            )
        try:
            comparisons += compare_reports(exam, baseline, this.report)
        except ReportError as error:
            raise ConfigError(str(error)) from None
    compared = ModelReport(this.report.replace(comparisons=tuple(comparisons)), this.folder, this.summary)
    _write(compared, exam, images)
    return compared


def _write(this: ModelReport, exam: Exam, images: Path) -> None:
    this.report.write(this.folder / "results.json")
    write_page(this.folder / "page.html", this.report, exam, ImageStore(images))
