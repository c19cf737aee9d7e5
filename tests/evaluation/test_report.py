"""Figures of a benchmark with intervals, the file that they are written to, and two models beside each other."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.benchmarks.choices import worst
from evaluation.benchmarks.question import ScoredAnswer
from evaluation.exam import Exam, HeldOut, spread
from evaluation.report import Report, ReportError, compare_reports, differing_settings, make_report
from evaluation.responses import Response, Responses
from spatial.sample import ReasoningPath
from tests.evaluation.exams import SETTINGS, answered, make_exam, make_question

QUESTIONS = [make_question(f"q{number}", "depth" if number % 4 else "count") for number in range(40)]
EXAM = make_exam(*QUESTIONS)


def results_of(right: Sequence[bool], exam: Exam = EXAM, model: str = "model") -> Report:
    names = [question.sample.sample_id for question in exam.questions]
    letters = {name: "A" if is_right else "B" for name, is_right in zip(names, right, strict=True)}
    return make_report(exam, answered(letters), model, SETTINGS)


def test_figures_stand_within_their_intervals_and_these_are_in_the_file(tmp_path: Path) -> None:
    results_of([number % 4 == 0 or number % 2 == 0 for number in range(40)]).write(tmp_path / "e" / "results.json")
    found = Report.read(tmp_path / "e" / "results.json")
    (column,) = found.figures
    overall, count = column.figures["overall"], column.figures["task/count"]
    assert (overall.value, count.value, column.figures["task/depth"].value) == (0.5, 1.0, pytest.approx(1 / 3))
    # 0.5 ± 1.96·sqrt(0.25/40)
    assert (overall.low, overall.high) == (pytest.approx(0.345, abs=0.03), pytest.approx(0.655, abs=0.03))
    # Ten of ten right: 0.05^(1/10).
    assert (count.low, count.high) == (pytest.approx(0.741, abs=1e-3), 1.0)
    assert len(found.responses) == 40
    first = found.responses[0]
    assert (first.sample_id, first.answer, first.truth, first.score, first.well_formed) == ("q0", "A", "A", 1.0, True)


def test_the_keys_of_the_file_are_those_of_its_first_version(tmp_path: Path) -> None:
    results_of([True] * 40).write(tmp_path / "results.json")
    content = json.loads((tmp_path / "results.json").read_text())
    assert list(content) == [
        *("title", "checkpoint", "settings", "num_questions", "num_rejects", "rejects", "num_failures", "failures"),
        *("marks", "comparisons", "outcomes"),
    ]
    assert list(content["marks"][0]) == ["path", "mode", "num_questions", "figures", "format_rate"]


def test_failed_responses_are_named_and_in_no_figure() -> None:
    results = make_report(make_exam(*QUESTIONS[:3]), answered({"q0": "A", "q1": None, "q2": "A"}), "model", SETTINGS)
    assert results.figures[0].figures["overall"].value == 1.0
    assert (results.figures[0].num_questions, results.num_questions, results.num_failures) == (2, 3, 1)
    assert results.failures == ("q1 through lor: engine on fire",)


class AllOrders(HeldOut):
    """Right only where all orders of the options are."""

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        units = worst(scored, lambda each: each.question.item)
        return {"overall": sum(each.score for each in units) / len(units), "units": float(len(units))} if units else {}


def in_orders(num_items: int) -> Exam:
    questions = [
        replace(make_question(f"q{item}-{order}"), item=f"q{item}", variant=str(order))
        for item in range(num_items)
        for order in range(2)
    ]
    return Exam(AllOrders(), tuple(questions))


def test_what_counts_as_one_is_drawn_as_one_and_counts_twice_where_it_is_drawn_twice() -> None:
    figures = results_of([number % 4 != 3 for number in range(40)], in_orders(20)).figures[0].figures
    # Every second item has a wrong order: 10 of 20 items, though 30 of 40 answers are right.
    assert figures["overall"].value == 0.5
    assert figures["overall"].low == pytest.approx(0.5 - 0.219, abs=0.06)
    # A draw has always as many items as there are.
    assert (figures["units"].low, figures["units"].value, figures["units"].high) == (20, 20, 20)


def test_an_item_of_which_one_order_failed_is_left_out() -> None:
    exam = in_orders(2)
    answers = answered({"q0-0": "A", "q0-1": None, "q1-0": "B", "q1-1": "A"})
    (column,) = make_report(exam, answers, "model", SETTINGS).figures
    assert (column.figures["overall"].value, column.figures["units"].value, column.num_questions) == (0.0, 1.0, 2)


def test_several_responses_to_a_question_are_rounds_whose_figures_are_averaged() -> None:
    answers = tuple(
        Response(f"q{number}", ReasoningPath.LOR, member, False, f"<think></think><answer>{'AB'[member]}</answer>")
        for number in range(40)
        for member in range(2)
    )
    asked = Responses({ReasoningPath.LOR: 40}, answers, (), 1.0)
    (column,) = make_report(EXAM, asked, "model", SETTINGS).figures
    assert (column.mode, column.num_questions) == ("sampled", 40)
    overall = column.figures["overall"]
    # Each question has one right and one wrong response: no draw of questions changes the mean.
    assert (overall.low, overall.value, overall.high) == (0.5, 0.5, 0.5)


def test_two_models_are_compared_on_the_questions_that_both_answered() -> None:
    before = results_of([number < 10 for number in range(40)], model="before")
    after = results_of([number < 30 for number in range(40)], model="after")
    (found,) = compare_reports(EXAM, before, after)
    assert (found.baseline, found.num_questions, found.num_lost, found.num_won) == ("before", 40, 0, 20)
    assert found.mcnemar_p == pytest.approx(2 / 2**20)
    overall = found.figures["overall"]
    assert overall.value == 0.5
    assert overall.low > 0.3
    assert overall.p_value == pytest.approx(1 / 1001)
    (back,) = compare_reports(EXAM, after, before)
    assert back.figures["overall"].value == -0.5


def test_a_question_of_the_same_name_and_another_text_is_not_compared() -> None:
    other = make_exam(*(make_question(f"q{number}", text="Another? A or B") for number in range(40)))
    with pytest.raises(ReportError, match="share no answered question"):
        compare_reports(EXAM, results_of([True] * 40, other, "other"), results_of([True] * 40))


def test_results_of_another_benchmark_are_refused_and_other_settings_are_named() -> None:
    results = results_of([True] * 40)
    other = results.replace(settings=SETTINGS.replace(benchmark="cv", seed=7))
    with pytest.raises(ReportError, match="compare results of one benchmark"):
        compare_reports(EXAM, other, results)
    assert differing_settings(other.settings, results.settings) == ["benchmark", "seed"]


def test_a_file_that_is_no_results_file_is_refused_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"missing\.json"):
        Report.read(tmp_path / "missing.json")
    (tmp_path / "results.json").write_text('{"title": 3}')
    with pytest.raises(ReportError, match=r"results\.json: title"):
        Report.read(tmp_path / "results.json")


def test_a_limit_takes_whole_items_from_the_whole_length() -> None:
    questions = list(in_orders(10).questions)
    found = spread(questions, 7)
    assert [question.sample.sample_id for question in found] == ["q0-0", "q0-1", "q3-0", "q3-1", "q6-0", "q6-1"]
    assert spread(questions, 100) == questions
    assert [question.item for question in spread(questions, 1)] == ["q0", "q0"]
