"""A benchmark's figures with their intervals, and how far those of two models are apart.

Whatever a benchmark reports (a mean, a mean of means, only what is right in all orders), it reports it anew for each
draw of the questions: no figure needs a formula of its own.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from statistics import fmean

import numpy as np

from evaluation.benchmarks.types import Marked, Question
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

Summarise = Callable[[Sequence[Marked]], dict[str, float]]
Rounds = Sequence[Sequence[Marked]]
"""One response to every question is a round, which is summarised as a whole. Example: 4 responses to each of 100
questions are 4 rounds of 100 marks, and a figure is the mean of its 4 values."""


class MarkedUnits:
    """A model's marks by unit: a question, or the questions of an item."""

    def __init__(self, rounds: Rounds, keys: Sequence[str] | None = None) -> None:
        """
        Args:
            keys: the units and their order; None: all that there are.
        """
        by_unit: dict[str, list[list[Marked]]] = defaultdict(lambda: [[] for _ in rounds])
        for number, marks in enumerate(rounds):
            for mark in marks:
                by_unit[unit_of(mark.question)][number].append(mark)
        self.keys = list(by_unit) if keys is None else list(keys)
        self.num_rounds = len(rounds)
        self._units = [by_unit[key] for key in self.keys]
        self._copies: dict[tuple[int, int], list[list[Marked]]] = {}

    def unit(self, index: int, copy: int) -> list[list[Marked]]:
        """Its marks, round by round. What is drawn twice counts as two: the second copy is an item of its own."""
        if not copy:
            return self._units[index]
        if (index, copy) not in self._copies:
            name = f"{self.keys[index]}#{copy}"
            self._copies[index, copy] = [
                [replace(mark, question=replace(mark.question, item=name)) for mark in marks]
                for marks in self._units[index]
            ]
        return self._copies[index, copy]

    @cached_property
    def num_units_by_figure(self) -> dict[str, int]:
        """How many units the figures of the usual names are made of."""
        counts: Counter[str] = Counter()
        for unit in self._units:
            questions = [mark.question for marks in unit for mark in marks]
            counts.update({f"task/{q.task}" for q in questions} | {f"source/{q.source}" for q in questions})
        return dict(counts)


def _figures(drawn: Iterable[list[list[Marked]]], num_rounds: int, summarise: Summarise) -> dict[str, float]:
    units = list(drawn)
    by_name: dict[str, list[float]] = defaultdict(list)
    for number in range(num_rounds):
        marks = list(chain.from_iterable(unit[number] for unit in units))
        for name, value in summarise(marks).items() if marks else ():
            by_name[name].append(value)
    return {name: fmean(values) for name, values in by_name.items()}


def _copies(indices: Indices) -> list[tuple[int, int]]:
    """Each index with how often it came before, in ascending order: [3, 1, 3] gives (1, 0), (3, 0), (3, 1)."""
    ordered = np.sort(indices)
    before = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return list(zip(ordered.tolist(), before.tolist(), strict=True))


def figures_with_intervals(rounds: Rounds, summarise: Summarise, seed: int) -> dict[str, tuple[float, Interval]]:
    """All figures of a benchmark, in its order."""
    model = MarkedUnits(rounds)

    def figures(indices: Indices) -> Mapping[str, float]:
        return _figures((model.unit(*each) for each in _copies(indices)), model.num_rounds, summarise)

    num_units = len(model.keys)
    if not num_units:
        return {}
    intervals = figure_intervals(figures, num_units, model.num_units_by_figure, seed)
    # A figure of one rare question may be in no draw.
    values = figures(np.arange(num_units)).items()
    return {name: (value, intervals.get(name, Interval(value, value))) for name, value in values}


@dataclass(frozen=True)
class Compared:
    """Two models on the questions that both answered."""

    num_questions: int
    differences: dict[str, Difference]
    """Of each figure, the second model minus the first."""
    num_lost: int | None
    """Questions that only the first has right; None where answers are more than right or wrong, or several."""
    num_won: int | None
    mcnemar_p: float | None


def compare(first: Rounds, second: Rounds, summarise: Summarise, seed: int) -> Compared | None:
    """None where they share no question. Where one was asked more often, its further rounds are left out."""
    num_rounds = min(len(first), len(second))
    wanted = MarkedUnits(second[:num_rounds]).keys
    here = set(MarkedUnits(first[:num_rounds]).keys)
    keys = [key for key in wanted if key in here]
    if not keys:
        return None
    models = [MarkedUnits(rounds[:num_rounds], keys) for rounds in (first, second)]

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
    return Compared(len(shared), found, num_lost, num_won, p_value)


def _shared_scores(first: Sequence[Marked], second: Sequence[Marked], units: set[str]) -> list[tuple[float, float]]:
    def scores(marks: Sequence[Marked]) -> dict[str, float]:
        return {mark.question.sample.sample_id: mark.score for mark in marks if unit_of(mark.question) in units}

    before, after = scores(first), scores(second)
    return [(before[name], after[name]) for name in after if name in before]


def figures_of_answers(exam: Exam, path: ReasoningPath, answers: Mapping[str, str]) -> dict[str, float]:
    """The benchmark's figures of one path's responses, by sample id; {} where no item was answered whole."""
    questions = [question for question in exam.questions if path in question.sample.paths]
    marks = [
        exam.rule.mark(question, parse_response(path, answers[question.sample.sample_id]).answer)
        for question in questions
        if question.sample.sample_id in answers
    ]
    whole = complete(marks, questions)
    return exam.rule.summarise(whole) if whole else {}


def complete(marks: Sequence[Marked], questions: Sequence[Question]) -> list[Marked]:
    """Without items of which a question was not answered: what is right in all orders cannot be told of some."""
    expected = Counter(unit_of(question) for question in questions)
    found = Counter(unit_of(mark.question) for mark in marks)
    return [mark for mark in marks if found[unit_of(mark.question)] == expected[unit_of(mark.question)]]
