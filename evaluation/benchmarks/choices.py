"""Multiple-choice questions: their wording, the orders of their options, and the averages of their scores."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean
from string import ascii_uppercase

from corpora.rows import RowError
from corpora.texts.answers import asking_for_letter
from evaluation.benchmarks.letters import read_letter
from evaluation.benchmarks.question import Question, ScoredAnswer
from spatial.sample import ChoiceAnswer, ReasoningPath

ASKED_THROUGH = (ReasoningPath.LOR, ReasoningPath.DIRECT)
"""The paths of questions without marked regions."""


def choice_question(question: str, options: Sequence[str] = ()) -> str:
    """A question with its options, one per line after its letter ("A. left"), that asks for a letter.

    `options` is empty if the question's own text lists them.
    """
    return asking_for_letter(question.strip(), [option.strip() for option in options])


def choice(options: Sequence[str], right: int) -> ChoiceAnswer:
    """The letter of option `right`, counted from 0.

    Raises:
        RowError: there are fewer than 2 or more than 26 options, two are the same, or `right` is none of them.
    """
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise RowError("options", len(options), "give 2 to 26 options")
    if len({option.strip() for option in options}) < len(options):
        raise RowError("options", list(options), "two are the same; one letter must be right")
    if not 0 <= right < len(options):
        raise RowError("answer", right, f"there are {len(options)} options, counted from 0")
    return ChoiceAnswer(letter=ascii_uppercase[right], num_options=len(options))


def lettered(letter: str, num_options: int) -> ChoiceAnswer:
    """The option of a letter that a row gives as "C" or "(C)".

    Raises:
        RowError: there are fewer than 2 or more than 26 options, or it is the letter of no option.
    """
    letters = ascii_uppercase[:num_options]
    if not 2 <= num_options <= len(ascii_uppercase):
        raise RowError("options", num_options, "give 2 to 26 options")
    bare = letter.strip().removeprefix("(").removesuffix(")")
    if len(bare) != 1 or bare not in letters:
        raise RowError("answer", letter, f"it is none of the options {letters}")
    return ChoiceAnswer(letter=bare, num_options=num_options)


def choice_by_letter(options: Sequence[str], letter: str) -> ChoiceAnswer:
    """The option whose letter a row gives as "C" or "(C)".

    Raises:
        RowError: as for `choice` and `lettered`.
    """
    return choice(options, ascii_uppercase.index(lettered(letter, len(options)).letter))


def score_choice(question: Question, answer: str | None) -> ScoredAnswer:
    """1 for the letter of the right option, 0 for anything else."""
    truth = question.sample.answer
    assert isinstance(truth, ChoiceAnswer), truth
    letter = None if answer is None else read_letter(answer, truth.num_options)
    return ScoredAnswer(question, answer, score=float(letter == truth.letter))


def rotations(options: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All rotations of the options, so that each stands at each place once: as they are, rotated by one, by two, …

    Circular evaluation: MMBench (arXiv 2307.06281), which 3DSRBench follows.
    """
    for turn in range(len(options)):
        yield (*options[turn:], *options[:turn])


def shares(scored: Sequence[ScoredAnswer]) -> dict[str, float]:
    """Mean scores: over all ("overall"), over each task ("task/NAME") and over each source ("source/NAME")."""
    by_name: defaultdict[str, list[float]] = defaultdict(list)
    for each in scored:
        by_name["overall"].append(each.score)
        by_name[f"task/{each.question.task}"].append(each.score)
        if each.question.source:
            by_name[f"source/{each.question.source}"].append(each.score)
    return {name: fmean(scores) for name, scores in by_name.items()}


def shares_over_tasks(scored: Sequence[ScoredAnswer]) -> dict[str, float]:
    """`shares`, but "overall" is the mean over the tasks; the mean over all questions is "over_questions"."""
    if not scored:
        return {}
    figures = shares(scored)
    tasks = [share for name, share in figures.items() if name.startswith("task/")]
    return {**figures, "overall": fmean(tasks), "over_questions": figures["overall"]}


def worst(scored: Iterable[ScoredAnswer], key: Callable[[ScoredAnswer], str]) -> list[ScoredAnswer]:
    """The answer with the lowest score for each key, which is right only if all with this key are."""
    groups: dict[str, ScoredAnswer] = {}
    for each in scored:
        groups[key(each)] = min(groups.get(key(each), each), each, key=lambda each: each.score)
    return list(groups.values())
