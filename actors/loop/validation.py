"""Validation questions, asked during training: the engines that roll out answer them, beside the prompts of training.

Training is not affected: the questions have seeds of their own, are in no lane and no count, and are answered by the
weights that are served at the time, as training's prompts are. An evaluation that fails, or is not done when the next
one is due, gives no numbers; that is reported and counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean, median
from typing import Generic, TypeVar

from actors.cluster.tasks import Start
from actors.config import SessionConfig
from evaluation.exam import Exam
from evaluation.figures import figures_of_answers
from evaluation.responses import Generate, Response, Responses, Sampling, ask
from flow.trajectory import Trajectory
from rewards.reward import center_errors_m, is_correct
from rollout.errors import in_one_line
from spatial.grammar import parse_response
from spatial.sample import ReasoningPath, SpatialSample

T = TypeVar("T")

# Largest share of what engines generate at once that validation questions may take.
_SHARE_OF_ENGINES = 0.25


class Validation:
    """Evaluates every few versions, one evaluation at a time.

    Args:
        every: versions from one evaluation to the next, beginning with the weights that training starts from; 0: none.
        ask: asks all questions; returns the results by name ("lor/accuracy").
        report: called with a message when an evaluation failed or was skipped.
    """

    def __init__(
        self, every: int, ask: Callable[[], Awaitable[Mapping[str, float]]], report: Callable[[str], None]
    ) -> None:
        self._every = every
        self._ask = ask
        self._report = report
        self._running: asyncio.Task[None] | None = None
        self._version = 0
        self._numbers: dict[str, float] = {}
        self._num_skipped = 0

    def begin(self, version: int, start: Start) -> None:
        """Start an evaluation if one is due at `version`, which the engines serve; returns at once.

        Args:
            start: starts a task that ends with training.
        """
        if not self._every or version % self._every:
            return
        if self._running is not None:
            self._skip(version, f"that of version {self._version} is still under way")
            return
        self._version = version
        self._running = start(self._evaluate(version))

    def take(self) -> dict[str, float]:
        """For a step's metrics: the numbers that came in since the last call, and how many evaluations were skipped.

        If all questions were answered within the step, its line has the numbers of the weights that the step began
        with, as its rewards are; otherwise a later line has them. `validation/version` names the weights.
        """
        if not self._every:
            return {}
        numbers, self._numbers = self._numbers, {}
        return {**numbers, "validation/skipped": self._num_skipped}

    async def _evaluate(self, version: int) -> None:
        try:
            numbers = await self._ask()
        except Exception as error:  # whatever it is: validation questions never stop training
            self._skip(version, in_one_line(error))
        else:
            self._numbers = {f"validation/{name}": value for name, value in numbers.items()}
            self._numbers["validation/version"] = version
        finally:
            self._running = None

    def _skip(self, version: int, reason: str) -> None:
        self._num_skipped += 1
        self._report(f"validation questions at version {version} are skipped: {reason}")


@dataclass(frozen=True)
class _Answer:
    path: ReasoningPath
    is_right: bool
    keeps_format: bool
    center_errors_m: tuple[float, ...]
    newest_version: int

    @classmethod
    def of(cls, trajectory: Trajectory, sample: SpatialSample, is_greedy: bool) -> "_Answer":
        # Not by the reward that training uses: a user's grader may hang, and this is the coordinator's process.
        text, path = trajectory.response_text, trajectory.path
        return cls(
            path=path,
            is_right=is_correct(text, path, sample),
            keeps_format=parse_response(path, text).well_formed,
            center_errors_m=center_errors_m(text, path, sample) or (),
            newest_version=max(span.weight_version for span in trajectory.version_spans),
        )


class _Questions(Generic[T]):
    """Questions from one source, which are asked again and again."""

    def __init__(
        self,
        name: str,
        samples: Mapping[ReasoningPath, Sequence[SpatialSample]],
        keep: Callable[..., T],
        sampling: Sampling,
    ) -> None:
        """
        Args:
            name: what messages call them ("validation questions", "questions of CV-Bench").
            keep: as for `evaluation.responses.ask`.
        """
        self.name = name
        self._samples = samples
        self._keep = keep
        self._sampling = sampling
        self._failed: set[tuple[ReasoningPath, str]] = set()

    async def ask(self, generate: Generate, report: Callable[[str], None]) -> Responses[T]:
        """Ask all but those that failed before: they would fail again, and take their engine out of service.

        Raises:
            RuntimeError: none was answered.
        """
        left = {
            path: [s for s in those if (path, s.sample_id) not in self._failed] for path, those in self._samples.items()
        }
        asked = await ask(left, generate, self._keep, self._sampling)
        self._failed |= {(failure.path, failure.sample_id) for failure in asked.failed}
        if asked.failed:
            first = asked.failed[0]
            report(
                f"{len(asked.failed)} {self.name} could not be answered and are not asked again, such as "
                f"{first.sample_id} through {first.path}: {first.reason}"
            )
        if not asked.succeeded:
            raise RuntimeError(
                f"none of the {self.name} was answered ({self.num_failures} failed since training began)"
            )
        return asked

    @property
    def num_failures(self) -> int:
        """Since training began."""
        return len(self._failed)


def make_validation(
    config: SessionConfig,
    samples: Sequence[SpatialSample],
    exams: Sequence[Exam],
    generate: Generate,
    report: Callable[[str], None],
) -> Validation:
    """Asks the first `training.evaluate_questions` of `samples`, then `exams`; greedily, along each path that is
    trained."""
    training = config.training
    paths = [path for path, quota in training.groups_per_step.items() if quota]
    sampling = Sampling.of(
        config.evaluation.replace(num_samples=0, greedy=True),
        config.rollout.sampling.temperature,
        config.rollout.sampling.max_response_tokens,
    )
    num_at_once = max(1, config.rollout.num_workers) * config.rollout.engine.max_num_seqs
    sampling = replace(sampling, max_groups=max(1, int(num_at_once * _SHARE_OF_ENGINES)))

    def by_path(those: Sequence[SpatialSample], limit: int | None = None) -> dict[ReasoningPath, list[SpatialSample]]:
        return {path: list(islice((sample for sample in those if path in sample.paths), limit)) for path in paths}

    chosen_by_path = by_path(samples, training.evaluate_questions)
    if training.evaluate_every:
        for path in (path for path, chosen in chosen_by_path.items() if not chosen):
            report(f"no validation question may be asked through path '{path}': it has no validation curve")
    own = _Questions("validation questions", chosen_by_path, _Answer.of, sampling)
    benchmarks = [
        (exam, _Questions(f"questions of {exam.rule.title}", by_path(exam.samples), Response.of, sampling))
        for exam in exams
    ]

    async def ask_all() -> dict[str, float]:
        numbers = _numbers(await own.ask(generate, report), own.num_failures)
        for exam, questions in benchmarks:
            numbers |= _figures(exam, await questions.ask(generate, report), questions.num_failures)
        return numbers

    return Validation(training.evaluate_every, ask_all, report)


def _numbers(asked: Responses[_Answer], num_failures: int) -> dict[str, float]:
    numbers: dict[str, float] = {
        "failures": num_failures,
        "newest_version": max(answer.newest_version for answer in asked.succeeded),
    }
    for path in asked.num_questions:
        answers = [answer for answer in asked.succeeded if answer.path is path]
        errors_m = [error for answer in answers for error in answer.center_errors_m]
        if answers:
            numbers[f"{path.value}/accuracy"] = fmean(answer.is_right for answer in answers)
            numbers[f"{path.value}/format"] = fmean(answer.keeps_format for answer in answers)
            numbers[f"{path.value}/num_questions"] = len(answers)
        if errors_m:
            numbers[f"{path.value}/center_error_m_median"] = median(errors_m)
    return numbers


def _figures(exam: Exam, asked: Responses[Response], num_failures: int) -> dict[str, float]:
    name = exam.rule.name
    numbers: dict[str, float] = {f"{name}/failures": num_failures}
    for path in asked.num_questions:
        answers = {response.sample_id: response.text for response in asked.succeeded if response.path is path}
        for figure, value in figures_of_answers(exam, path, answers).items():
            numbers[f"{name}/{path.value}/{figure}"] = value
    return numbers
