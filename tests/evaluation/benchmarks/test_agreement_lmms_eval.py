"""Our scores beside those of lmms-eval, another harness: equal, or in the README's table with the reason."""

import importlib
import string
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.cv import CvBench
from evaluation.benchmarks.question import ScoredAnswer
from evaluation.benchmarks.spar import LEVELS, Spar, motion_accuracy
from evaluation.benchmarks.three_dsr import CIRCULAR, ThreeDsr
from evaluation.benchmarks.vsi import CHOICES, UNITS, Vsi
from tests.evaluation.benchmarks import test_spar, test_vsi
from tests.evaluation.benchmarks.agreeing import (
    NUMBER_ANSWERS,
    Case,
    bare_question,
    moves,
    option_cases,
    rows_in_readme,
    table_of_differences,
    table_row,
    three_dsr_rows,
    written,
)
from tests.evaluation.benchmarks.layouts import Row, load, write_parquet, write_tsv


@pytest.fixture(scope="module")
def scoring() -> Iterator[Callable[[str], ModuleType]]:
    """The scoring of one of lmms-eval's tasks, by the task's folder.

    The packages around it import its whole harness: torch, transformers, a registry of models. Empty ones take their
    places, so that nothing but the scoring is imported.
    """
    spec = find_spec("lmms_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    before = set(sys.modules)
    for name in ("tasks", "filters"):
        package = ModuleType(f"lmms_eval.{name}")
        package.__path__ = [f"{spec.submodule_search_locations[0]}/{name}"]
        sys.modules[package.__name__] = package
    yield lambda task: importlib.import_module(f"lmms_eval.tasks.{task}.utils")
    for name in set(sys.modules) - before:
        if name.startswith("lmms_eval"):
            del sys.modules[name]


@pytest.fixture
def cases(scoring: Callable[[str], ModuleType], tmp_path: Path) -> dict[str, Case]:
    def three_dsr(case: Case, answer: str) -> float:
        return float(scoring("3dsrbench").process_results(case.row, [answer])["vanilla_accuracy"]["score"])

    def embspatial(case: Case, answer: str) -> float:
        return float(
            scoring("embspatial").embspatial_process_results(case.row, [answer])["embspatial_acc"]["is_correct"]
        )

    def sat(case: Case, answer: str) -> float:
        # Their filter, then their metric as sat.yaml sets it: letters compared without case and punctuation.
        found = scoring("sat").MultiChoiceRegexFilter(group_select=0).apply([[answer]], [case.row])[0]
        return float(found.lower().translate(str.maketrans("", "", string.punctuation)) == "b")

    def viewspatial(case: Case, answer: str) -> float:
        return float(
            scoring("viewspatial").viewspatial_process_results(case.row, [answer])["overall_accuracy"]["score"]
        )

    def mmsi(case: Case, answer: str) -> float:
        return float(scoring("mmsi_bench").msr_process_results(case.row, [answer])["average"]["score"])

    def cv(case: Case, answer: str) -> float:
        return float(scoring("cv_bench").cv_bench_process_results(case.row, [answer])["cv_bench_acc"]["is_correct"])

    def blink(case: Case, answer: str) -> float:
        return float(scoring("blink").blink_process_results(case.row, [answer])["blink_acc"]["is_correct"])

    def realworldqa(case: Case, answer: str) -> float:
        return float(scoring("realworldqa").realworldqa_process_results(case.row, [answer])["exact_match"])

    return option_cases(
        tmp_path,
        {
            "3dsr": three_dsr,
            "embspatial": embspatial,
            "sat": sat,
            "viewspatial": viewspatial,
            "mmsi": mmsi,
            "spar": lambda case, answer: spar_score(scoring, case.row, answer),
            "vsi": lambda case, answer: vsi_score(scoring, case.row, answer),
            "cv": cv,
            "blink": blink,
            "realworldqa": realworldqa,
        },
    )


def spar_score(scoring: Callable[[str], ModuleType], row: Row, answer: str) -> float:
    theirs = scoring("sparbench")
    if row["task"] in theirs.NA_QUESTION_TYPES:
        # Their last step gives 0 to every number (it evaluates a name that is not imported), so its parts are called.
        try:
            value = theirs.to_float(theirs.process_na(answer, row["task"]))
        except IndexError:
            return 0.0  # as they do where there is no number
        return float(theirs.mean_relative_accuracy(value, theirs.to_float(row["answer"]), 0.5, 0.95, 0.05))
    doc = theirs.sparbench_process_results(dict(row), [answer])["sparbench_score"]
    return float(doc["accuracy"])


def vsi_score(scoring: Callable[[str], ModuleType], row: Row, answer: str) -> float:
    doc = scoring("vsibench").vsibench_process_results(dict(row), [answer])["vsibench_overall"]
    return float(next(doc[name] for name in ("accuracy", "MRA:.5:.95:.05") if name in doc))


def test_marks_of_options_agree_but_for_the_table_in_the_readme(cases: dict[str, Case]) -> None:
    assert rows_in_readme("| answer", "ours", *cases) == table_of_differences(cases)


def test_marks_of_numbers_agree_but_for_the_table_in_the_readme(
    scoring: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    one_view = {**test_spar.NUMBER, "task": "depth_prediction_oc"}
    distance = {**test_vsi.COUNT, "question_type": "object_abs_distance", "ground_truth": "2.0"}
    write_parquet(tmp_path / test_spar.TEST, [one_view, test_spar.NUMBER])
    test_vsi.write(tmp_path, distance)
    questions = [*load(Spar(), tmp_path)[0], *load(Vsi(), tmp_path)[0]]
    rows = []
    for answer in NUMBER_ANSWERS:
        ours = {(Vsi() if "vsi" in each.sample.domain else Spar()).score(each, answer).score for each in questions}
        assert len(ours) == 1, f"{answer!r}: {ours}"
        theirs = {
            "spar, one view": spar_score(scoring, one_view, answer),
            "spar, several": spar_score(scoring, test_spar.NUMBER, answer),
            "vsi": vsi_score(scoring, distance, answer),
        }
        rows += table_row(answer, ours.pop(), theirs)
    assert rows_in_readme("| answer", "ours", "spar, one view", "spar, several", "vsi") == rows


@settings(max_examples=50, deadline=None)
@given(moved=moves(0.9), truly=moves(1.0))
def test_marks_of_motions_agree_but_for_what_they_are_divided_by(
    scoring: Callable[[str], ModuleType], moved: dict[str, float], truly: dict[str, float]
) -> None:
    # Theirs divides by the answer, not by the truth: told the one for the other, it agrees.
    theirs = scoring("sparbench").compute_vci_metric(written(truly), written(moved))
    assert motion_accuracy(moved, truly) == pytest.approx(theirs)


SHARE = st.integers(0, 10).map(lambda tenths: tenths / 10)


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(SHARE, min_size=20, max_size=60))
def test_the_figures_of_spar_bench_agree(scoring: Callable[[str], ModuleType], scores: list[float]) -> None:
    tasks = [task for tasks in LEVELS.values() for task in tasks]
    theirs = scoring("sparbench")
    names = dict.fromkeys(theirs.MCA_QUESTION_TYPES, "accuracy") | dict.fromkeys(
        theirs.NA_QUESTION_TYPES, "MRA:.5:.95:.05"
    )
    docs, scored = [], []
    for number, score in enumerate(scores):
        task = tasks[number % len(tasks)]
        docs.append({"task": task, names.get(task, "vci_metric"): score})
        scored.append(ScoredAnswer(bare_question(task), None, score))
    figures = Spar().summarise(scored)
    assert 100 * figures["overall"] == pytest.approx(theirs.sparbench_aggregate_results(docs))
    # Not "middle": theirs cuts the last word only off "view_change_infer_vci_metric", and leaves motions out.
    ours = {level: figures[f"source/{level}"] for level in ("low", "high")}
    assert ours == pytest.approx({level: theirs._compute_all_subscores(docs)[level] for level in ours})


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(SHARE, min_size=10, max_size=40))
def test_the_figures_of_vsi_bench_agree(scoring: Callable[[str], ModuleType], scores: list[float]) -> None:
    tasks = [*UNITS, *CHOICES]
    docs, scored = [], []
    for number, score in enumerate(scores):
        task = tasks[number % len(tasks)]
        docs.append({"question_type": task, "MRA:.5:.95:.05" if task in UNITS else "accuracy": score})
        scored.append(ScoredAnswer(bare_question(task), None, score))
    theirs = scoring("vsibench").vsibench_aggregate_overall(docs)
    assert Vsi().summarise(scored)["overall"] == pytest.approx(theirs, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(right=st.lists(st.booleans(), min_size=3, max_size=30))
def test_the_figure_of_cv_bench_agrees(scoring: Callable[[str], ModuleType], right: list[bool]) -> None:
    sources = ("ADE20K", "COCO", "Omni3D")
    docs, scored = [], []
    for number, is_right in enumerate(right):
        source = sources[number % 3]
        docs.append({"source": source, "is_correct": is_right})
        scored.append(ScoredAnswer(bare_question("Count", source), None, float(is_right)))
    theirs = scoring("cv_bench").cv_bench_default_aggregate_results(docs)
    assert CvBench().summarise(scored)["overall"] == pytest.approx(theirs)


@settings(max_examples=50, deadline=None)
@given(right=st.lists(st.booleans(), min_size=12, max_size=12))
def test_flip_and_circular_figures_of_3dsrbench_agree(
    scoring: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory, right: list[bool]
) -> None:
    rows = three_dsr_rows()
    folder = tmp_path_factory.mktemp("3dsr")
    write_tsv(folder / CIRCULAR, rows)
    questions, _ = load(ThreeDsr(), folder)
    scored = [
        ScoredAnswer(question, None, float(is_right)) for question, is_right in zip(questions, right, strict=True)
    ]
    ours = ThreeDsr().summarise(scored)
    theirs = scoring("3dsrbench")
    results = [
        theirs.process_results(row, [row["answer"] if is_right else "none"])["vanilla_accuracy"]
        for row, is_right in zip(rows, right, strict=True)
    ]
    assert ours["plain"] == pytest.approx(theirs.aggregate_vanilla_accuracy(results))
    assert ours["flip"] == pytest.approx(theirs.aggregate_flip_accuracy(results))
    assert ours["circular"] == pytest.approx(theirs.aggregate_circular_accuracy(results))
    assert ours["flip_circular"] == pytest.approx(theirs.aggregate_flip_circular_accuracy(results))
