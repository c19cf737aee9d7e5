"""A benchmark's figures with their intervals, and the differences between two models.

Intervals come from drawing the questions with replacement and calling the benchmark's own `summarise` on each draw, so
that no figure (a mean, a mean of means, the share that is right in all orders) needs a formula of its own.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from statistics import fmean

import numpy as np

from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.exam import Exam, unit_of
from evaluation.statistics import (
    Difference,
    Indices,
    Interval,
    Swapped,
    figure_intervals,
    mcnemar_p,
    paired_differences,
)
from spatial.grammar import parse_response
from spatial.sample import ReasoningPath

Summarise = Callable[[Sequence[ScoredAnswer]], dict[str, float]]
Rounds = Sequence[Sequence[ScoredAnswer]]
"""A round is one response to every question, and is summarised as a whole. Example: 4 responses to each of 100
questions are 4 rounds of 100 scores, and a figure is the mean of its 4 values."""


class UnitScores:
    """A model's scores by unit: a question, or all questions of an item."""

    def __init__(self, rounds: Rounds, keys: Sequence[str] | None = None) -> None:
        """
        Args:
            keys: the units to keep, in this order; None: all.
        """
        by_unit: dict[str, list[list[ScoredAnswer]]] = defaultdict(lambda: [[] for _ in rounds])
        for number, scores in enumerate(rounds):
            for each in scores:
                by_unit[unit_of(each.question)][number].append(each)
        self.keys = list(by_unit) if keys is None else list(keys)
        self.num_rounds = len(rounds)
        self._units = [by_unit[key] for key in self.keys]
        self._copies: dict[tuple[int, int], list[list[ScoredAnswer]]] = {}

    def unit(self, index: int, copy: int) -> list[list[ScoredAnswer]]:
        """The scores of a unit, round by round. A unit that is drawn twice counts twice: its copy is another item."""
        if not copy:
            return self._units[index]
        if (index, copy) not in self._copies:
            name = f"{self.keys[index]}#{copy}"
            self._copies[index, copy] = [
                [replace(each, question=replace(each.question, item=name)) for each in scores]
                for scores in self._units[index]
            ]
        return self._copies[index, copy]

    @cached_property
    def num_units_by_figure(self) -> dict[str, int]:
        """Number of units that a task's or source's figure is made of."""
        counts: Counter[str] = Counter()
        for unit in self._units:
            questions = [each.question for scores in unit for each in scores]
            counts.update({f"task/{q.task}" for q in questions} | {f"source/{q.source}" for q in questions})
        return dict(counts)


def _figures(drawn: Iterable[list[list[ScoredAnswer]]], num_rounds: int, summarise: Summarise) -> dict[str, float]:
    units = list(drawn)
    by_name: dict[str, list[float]] = defaultdict(list)
    for number in range(num_rounds):
        scores = list(chain.from_iterable(unit[number] for unit in units))
        for name, value in summarise(scores).items() if scores else ():
            by_name[name].append(value)
    return {name: fmean(values) for name, values in by_name.items()}


def _copies(indices: Indices) -> list[tuple[int, int]]:
    """Each index with how often it occurred before, in ascending order: [3, 1, 3] gives (1, 0), (3, 0), (3, 1)."""
    ordered = np.sort(indices)
    before = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return list(zip(ordered.tolist(), before.tolist(), strict=True))


def figures_with_intervals(rounds: Rounds, summarise: Summarise, seed: int) -> dict[str, tuple[float, Interval]]:
    """All figures of a benchmark with their intervals, in the order in which it reports them."""
    model = UnitScores(rounds)

    def figures(indices: Indices) -> Mapping[str, float]:
        return _figures((model.unit(*each) for each in _copies(indices)), model.num_rounds, summarise)

    num_units = len(model.keys)
    if not num_units:
        return {}
    intervals = figure_intervals(figures, num_units, model.num_units_by_figure, seed)
    # The figure of a rare question may occur in no draw.
    values = figures(np.arange(num_units)).items()
    return {name: (value, intervals.get(name, Interval(value, value))) for name, value in values}


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the questions that both answered."""

    num_questions: int
    differences: dict[str, Difference]
    """The second model minus the first, by figure."""
    num_lost: int | None
    """Questions that only the first has right; None: scores are not just 0 and 1, or there are several responses."""
    num_won: int | None
    mcnemar_p: float | None


def compare(first: Rounds, second: Rounds, summarise: Summarise, seed: int) -> PairedComparison | None:
    """Compare two models on their common questions; None: there is none. Surplus rounds of one model are left out."""
    num_rounds = min(len(first), len(second))
    wanted = UnitScores(second[:num_rounds]).keys
    here = set(UnitScores(first[:num_rounds]).keys)
    keys = [key for key in wanted if key in here]
    if not keys:
        return None
    models = [UnitScores(rounds[:num_rounds], keys) for rounds in (first, second)]

    def differences(indices: Indices, swapped: Swapped) -> Mapping[str, float]:
        copies = _copies(indices)
        figures = [
            _figures(
                (models[number ^ int(swapped[index])].unit(index, copy) for index, copy in copies),
                num_rounds,
                summarise,
            )
            for number in (0, 1)
        ]
        return {name: figures[1][name] - value for name, value in figures[0].items() if name in figures[1]}

    num_lost = num_won = p_value = None
    shared = _shared_scores(first[0], second[0], set(keys))
    if num_rounds == 1 and all(score in (0.0, 1.0) for pair in shared for score in pair):
        num_lost = sum(a > b for a, b in shared)
        num_won = sum(a < b for a, b in shared)
        p_value = mcnemar_p(num_lost, num_won)
    found = paired_differences(differences, len(keys), seed)
    return PairedComparison(len(shared), found, num_lost, num_won, p_value)


def _shared_scores(
    first: Sequence[ScoredAnswer], second: Sequence[ScoredAnswer], units: set[str]
) -> list[tuple[float, float]]:
    def scores(answers: Sequence[ScoredAnswer]) -> dict[str, float]:
        return {each.question.sample.sample_id: each.score for each in answers if unit_of(each.question) in units}

    before, after = scores(first), scores(second)
    return [(before[name], after[name]) for name in after if name in before]


def figures_of_answers(exam: Exam, path: ReasoningPath, responses: Mapping[str, str]) -> dict[str, float]:
    """The benchmark's figures for one path.

    Args:
        responses: their texts by sample id. If no item is answered in full, there are no figures: {}.
    """
    questions = [question for question in exam.questions if path in question.sample.paths]
    scored = [
        exam.rule.score(question, parse_response(path, responses[question.sample.sample_id]).answer)
        for question in questions
        if question.sample.sample_id in responses
    ]
    whole = complete(scored, questions)
    return exam.rule.summarise(whole) if whole else {}


def complete(scored: Sequence[ScoredAnswer], questions: Sequence[Question]) -> list[ScoredAnswer]:
    """Leaves out items with an unanswered question: "right in all orders" needs all orders."""
    expected = Counter(unit_of(question) for question in questions)
    found = Counter(unit_of(each.question) for each in scored)
    return [each for each in scored if found[unit_of(each.question)] == expected[unit_of(each.question)]]
