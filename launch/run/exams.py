"""Benchmarks of a run: read, and refused before anything starts if they cannot be asked."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from actors.run.run_folder import RunFolder
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.registry import find_benchmark
from evaluation.exam import Exam, load_exam
from launch.settings.config import ConfigError, RunConfig
from spatial.dataset import BadDataError
from spatial.images import ImageStore
from spatial.sample import ReasoningPath


def read_exam(
    config: RunConfig, benchmark: Benchmark, folder: Path, limit: int | None, images: Path, console: Console
) -> Exam:
    """A benchmark's questions; rows that are left out are printed.

    Args:
        images: the store that gets its images.

    Raises:
        ConfigError: its files are missing.
        BadDataError: too many of its rows are bad.
    """
    with console.status(f"reading {benchmark.title} from {folder}"):
        try:
            exam = load_exam(benchmark, folder, ImageStore(images), config.max_bad_share, limit)
        except FileNotFoundError as error:
            raise ConfigError(f"{benchmark.title}: {error}") from None
    for reject in exam.rejects[:5]:
        console.print(f"[yellow]left out[/]: {escape(str(reject))}", highlight=False)
    console.print(f"{benchmark.title}: {len(exam.questions)} questions, {len(exam.rejects)} rows left out")
    return exam


def check_fit(exam: Exam, paths: Sequence[ReasoningPath], config: RunConfig) -> None:
    """Check that the questions can be asked.

    Raises:
        ConfigError: none may be asked through these paths, or one has more images than the engines take.
    """
    name = exam.rule.name
    asked = [sample for sample in exam.samples if set(sample.paths) & set(paths)]
    if not asked:
        known = sorted({path.value for sample in exam.samples for path in sample.paths})
        raise ConfigError(
            f"{name}: no question may be asked through {', '.join(paths)}, only through {', '.join(known)}"
        )
    most = max(len(sample.images) for sample in asked)
    if most > config.rollout.engine.max_images_per_prompt:
        raise ConfigError(
            f"{name}: a question has {most} images, but rollout.engine.max_images_per_prompt="
            f"{config.rollout.engine.max_images_per_prompt}; set it to {most}"
        )


def exams_of_training(config: RunConfig, folder: RunFolder, console: Console) -> list[Exam]:
    """The benchmarks of `training.benchmarks`, to be asked through the paths that are trained.

    Raises:
        ConfigError: there is no such benchmark, its files are missing, or its questions cannot be asked.
    """
    trained = [path for path, num_groups in config.training.groups_per_step.items() if num_groups]
    exams = []
    for index, entry in enumerate(config.training.benchmarks):
        where = f"training.benchmarks.{index}"
        try:
            benchmark = find_benchmark(entry.name)
        except KeyError as error:
            raise ConfigError(f"{where}.name: {error.args[0]}") from None
        try:
            exam = read_exam(config, benchmark, Path(entry.folder), entry.limit, folder.benchmark_images, console)
            check_fit(exam, trained, config)
        except (ConfigError, BadDataError) as error:
            raise ConfigError(f"{where}: {error}") from None
        exams.append(exam)
    return exams
