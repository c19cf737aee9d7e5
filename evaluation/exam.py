"""An exam: questions, and the rule by which answers are scored and averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.benchmarks.benchmark import Benchmark, Rule
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.tables import local_folder
from rewards.accuracy import is_right
from spatial.dataset import BadDataError, Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample


class HeldOut(Rule):
    """A run's own test split: right or wrong (`rewards.accuracy.is_right`), by kind of question and by domain."""

    name = "held-out"
    title = "Held-out questions"

    def score(self, question: Question, answer: str | None) -> ScoredAnswer:
        return ScoredAnswer(question, answer, score=float(is_right(answer, question.sample.answer)))


@dataclass(frozen=True)
class Exam:
    """Questions with their rule, and the rows that were left out."""

    rule: Rule
    questions: tuple[Question, ...]
    rejects: tuple[Reject, ...] = ()

    @classmethod
    def held_out(cls, samples: Sequence[SpatialSample]) -> "Exam":
        """A run's own questions."""
        return cls(HeldOut(), tuple(Question(sample, sample.kind, sample.domain) for sample in samples))

    @property
    def samples(self) -> list[SpatialSample]:
        return [question.sample for question in self.questions]


def load_exam(
    benchmark: Benchmark, folder: Path, images: ImageStore, max_bad_share: float, limit: int | None = None
) -> Exam:
    """A benchmark's questions from its files.

    Args:
        folder: a local folder, or the name of a data set in the hub's cache ("nyu-visionx/CV-Bench").
        max_bad_share: largest share of its rows that may be rejected.
        limit: most questions, evenly spread; questions of one item stay together.

    Raises:
        FileNotFoundError: the folder does not hold the benchmark's files.
        BadDataError: more rows are rejected, or there is no question.
    """
    found = list(benchmark.load(local_folder(folder), images))
    questions = [each for each in found if isinstance(each, Question)]
    rejects = tuple(each for each in found if isinstance(each, Reject))
    if not questions or len(rejects) > max_bad_share * len(found):
        shown = "\n  ".join(map(str, rejects[:5]))
        raise BadDataError(
            f"{benchmark.title} in {folder}: {len(rejects)} rows are bad, {len(questions)} questions are good, and at "
            f"most {max_bad_share:.1%} may be bad (max_bad_share)\n  {shown}"
        )
    return Exam(benchmark, tuple(questions if limit is None else spread(questions, limit)), rejects)


def unit_of(question: Question) -> str:
    """The key of what counts, and is drawn, as one: the question's item, or the question itself."""
    return question.item or question.sample.sample_id


def spread(questions: Sequence[Question], limit: int) -> list[Question]:
    """At most `limit` questions (but at least one item), evenly spread over the benchmark, in its order."""
    items: dict[str, list[Question]] = {}
    for question in questions:
        items.setdefault(unit_of(question), []).append(question)
    units = list(items.values())
    num_units = max(1, min(len(units), limit * len(units) // len(questions)))
    chosen = [units[number * len(units) // num_units] for number in range(num_units)]
    while len(chosen) > 1 and sum(map(len, chosen)) > limit:  # items differ in size
        chosen.pop()
    return [question for unit in chosen for question in unit]
