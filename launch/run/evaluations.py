"""Checkpoints on a benchmark or on the run's own held-out questions: asked, marked, compared, written down."""

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
from evaluation.asking import Asked, Response, Sampling
from evaluation.benchmarks.types import Benchmark
from evaluation.config import EvaluationConfig
from evaluation.evaluate import chosen, judge, result_of
from evaluation.exam import Exam
from evaluation.marks import Judged, summarise
from evaluation.page import write_page
from evaluation.results import (
    Comparison,
    Results,
    ResultsError,
    Settings,
    compare_results,
    differing_settings,
    make_results,
)
from launch.run.driver import Driver
from launch.run.exams import check_fit, read_exam
from launch.run.prepare import prepare_folder
from launch.settings.config import ConfigError, RunConfig
from rewards.custom import load_reward
from spatial.images import ImageStore


@dataclass(frozen=True)
class Wanted:
    """What a person asked for."""

    checkpoints: tuple[Path, ...]
    evaluation: EvaluationConfig
    benchmark: Benchmark | None = None
    """None: the run's own held-out questions."""
    folder: Path | None = None
    """Of the benchmark's files."""
    limit: int | None = None
    """Of the benchmark, at most so many questions."""
    baseline: Results | None = None
    """Earlier results that these are compared with."""


@dataclass(frozen=True)
class Evaluated:
    """One checkpoint's results, and where they lie."""

    results: Results
    folder: Path
    summary: dict[str, Any] | None
    """Its marks as `summary.json` has them; of the run's own questions only."""


def run_evaluations(config: RunConfig, wanted: Wanted, console: Console) -> list[Evaluated]:
    """Ask every checkpoint the same questions, one after the other, through the engine pool.

    Each one's results (results.json, page.html, and the config.json that made them) are written as soon as there are
    some; comparisons are added at the end.

    Raises:
        ConfigError: the benchmark's files are missing, its questions do not fit the engines, or what was asked to be
            compared cannot be.
        BadDataError: too many of its rows are bad.
    """
    run_folder = RunFolder(Path(config.run).resolve())
    # A benchmark's images are no part of the run's data.
    images = run_folder.images if wanted.benchmark is None else run_folder.benchmark_images
    exam = None
    prepare_folder(run_folder)
    if wanted.benchmark is not None:
        assert wanted.folder is not None
        exam = read_exam(config, wanted.benchmark, wanted.folder, wanted.limit, images, console)
    evaluated: list[Evaluated] = []
    from launch.run.start_checks import check_questions  # loads torch, which a faulty config does without

    with Driver(config, console, needs_data=wanted.benchmark is None, needs_model=False) as run:
        if exam is None:
            exam = _own_exam(config, wanted.evaluation, run_folder)
        check_fit(exam, wanted.evaluation.paths, config)
        check_questions(config, exam.samples, wanted.evaluation.paths, wanted.checkpoints[0], images)
        for checkpoint in wanted.checkpoints:
            asked = run.evaluate(checkpoint, exam.samples, wanted.evaluation, images)
            with console.status(f"marks of {checkpoint.name}, and their intervals"):
                evaluated.append(_evaluated(config, wanted, exam, asked, checkpoint, run_folder))
            _write(evaluated[-1], exam, images)
            (evaluated[-1].folder / "config.json").write_text(config.model_dump_json(indent=1) + "\n")
    with console.status("comparisons"):
        return [_compared(one, evaluated, wanted, exam, images, console) for one in evaluated]


def slug(checkpoint: Path, run: Path) -> str:
    """What the results of a checkpoint are filed under: its name, told apart where it is not of this run."""
    inside = checkpoint.is_relative_to(run)
    parts = checkpoint.relative_to(run).parts if inside else checkpoint.parts[-2:]
    name = re.sub(r"[^\w.-]+", "_", "-".join(parts)).strip("_") or "model"
    return name if inside else f"{name}-{hashlib.sha256(str(checkpoint).encode()).hexdigest()[:6]}"


def _own_exam(config: RunConfig, evaluation: EvaluationConfig, folder: RunFolder) -> Exam:
    samples = samples_of(config, folder, "test")
    asked = {sample.sample_id for those in chosen(samples, evaluation).values() for sample in those}
    return Exam.held_out([sample for sample in samples if sample.sample_id in asked])


def _evaluated(
    config: RunConfig, wanted: Wanted, exam: Exam, asked: Asked[Response], checkpoint: Path, folder: RunFolder
) -> Evaluated:
    evaluation, rollout = wanted.evaluation, config.rollout
    settings = Settings(
        benchmark=exam.rule.name,
        folder=None if wanted.folder is None else str(wanted.folder),
        paths=evaluation.paths,
        num_samples=evaluation.num_samples,
        temperature=evaluation.temperature or rollout.sampling.temperature,
        greedy=evaluation.greedy,
        seed=evaluation.seed,
        max_response_tokens=Sampling.of(evaluation, rollout).max_response_tokens,
        limit=wanted.limit,
        prompt=config.prompt.model_dump(mode="json"),
    )
    results = make_results(exam, asked, str(checkpoint), settings)
    summary = _summary(config, exam, asked) if wanted.benchmark is None else None
    target = folder.evaluations / f"{exam.rule.name}-{slug(checkpoint, folder.root)}"
    return Evaluated(results, target, summary)


def _summary(config: RunConfig, exam: Exam, asked: Asked[Response]) -> dict[str, Any]:
    """The marks that cold start and RL have too, with rewards and centres."""
    reward = load_reward(config.rewards)
    samples = {sample.sample_id: sample for sample in exam.samples}
    judged = [judge(r.text, r.path, samples[r.sample_id], r.is_greedy, reward) for r in asked.answers]
    marked = Asked(
        num_questions=asked.num_questions,
        answers=tuple(one for one in judged if isinstance(one, Judged)),
        failures=(*asked.failures, *(one for one in judged if not isinstance(one, Judged))),
        seconds=asked.seconds,
    )
    return summarise(result_of(marked, config.evaluation.seed), asked.seconds)


def _compared(
    one: Evaluated, all_of_them: Sequence[Evaluated], wanted: Wanted, exam: Exam, images: Path, console: Console
) -> Evaluated:
    """With its comparisons: with the baseline, and with each checkpoint that was named before it."""
    earlier = [first.results for first, second in combinations(all_of_them, 2) if second is one]
    baselines = [*([wanted.baseline] if wanted.baseline is not None else []), *earlier]
    if not baselines:
        return one
    comparisons: list[Comparison] = []
    for baseline in baselines:
        if differing := differing_settings(baseline.settings, one.results.settings):
            console.print(
                f"[yellow]{escape(baseline.checkpoint)} was asked differently[/]: {escape(', '.join(differing))}",
                highlight=False,
            )
        try:
            comparisons += compare_results(exam, baseline, one.results)
        except ResultsError as error:
            raise ConfigError(str(error)) from None
    compared = Evaluated(one.results.replace(comparisons=tuple(comparisons)), one.folder, one.summary)
    _write(compared, exam, images)
    return compared


def _write(evaluated: Evaluated, exam: Exam, images: Path) -> None:
    evaluated.results.write(evaluated.folder / "results.json")
    write_page(evaluated.folder / "page.html", evaluated.results, exam, ImageStore(images))
