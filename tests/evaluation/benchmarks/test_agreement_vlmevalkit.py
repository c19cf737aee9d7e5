"""Our scores beside those of VLMEvalKit (as `ms-vlmeval` packs it): equal, or in the README with the reason."""

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.cv import CvBench
from evaluation.benchmarks.omni3d_bench import Omni3dBench
from evaluation.benchmarks.qspatial import QSpatial
from evaluation.benchmarks.question import ScoredAnswer
from evaluation.benchmarks.spar import LEVELS, Spar, motion_accuracy
from evaluation.benchmarks.three_dsr import CIRCULAR, ThreeDsr
from evaluation.benchmarks.vsi import CHOICES, UNITS, Vsi
from tests.evaluation.benchmarks import test_omni3d_bench, test_qspatial, test_spar, test_vsi
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

Scoring = Callable[[str], ModuleType]

SHARE = st.integers(0, 10).map(lambda tenths: tenths / 10)
REALWORLDQA_OPTIONS = ("Left", "Straight", "Right")
"""Of its fixture; they stand in the question's text."""
LENGTHS_CM = st.tuples(st.integers(1, 400), st.integers(1, 400)).filter(
    # There, just twice the truth is a matter of binary rounding.
    lambda pair: pair[0] != 2 * pair[1] and pair[1] != 2 * pair[0]
)
"""Of an answer and of its truth."""
OMNI3D_ANSWERS = (
    "4",
    "4.0",
    " 4 ",
    "four",
    "yes",
    "Yes",
    "Yes.",
    "true",
    "no",
    "lamp",
    "the lamp",
    "Lamp",
    "2",
    "2.0 m",
    "",
)


class _Unused:
    """Whatever the harness around the scoring is made of: a class to inherit from, a logger to be made."""

    def __init__(self, *arguments: object, **named: object) -> None:
        pass


class _Harness(ModuleType):
    """Stands for a module that scoring imports from and makes no use of."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unused


@pytest.fixture(scope="module")
def scoring() -> Iterator[Scoring]:
    """A module of VLMEvalKit by its name within the package.

    Its packages import the whole harness: every model's API, video decoders, a hundred benchmarks. Empty ones take
    their places, and what the scoring files import from the harness is there in name only.
    """
    spec = find_spec("vlmeval")
    assert spec is not None
    assert spec.submodule_search_locations
    before = dict(sys.modules)
    for name in ("", ".utils", ".dataset", ".dataset.utils"):
        package = _Harness(f"vlmeval{name}")
        package.__path__ = [spec.submodule_search_locations[0] + name.replace(".", "/")]
        sys.modules[package.__name__] = package
    smp = ("smp", "smp.file", "smp.log", "smp.vlm", "utils.mp_util")
    harness = (*smp, "dataset.image_base", "dataset.video_base", "dataset.utils.judge_util", "dataset.utils.vqa_eval")
    for name in (*(f"vlmeval.{name}" for name in harness), "decord", "tabulate"):
        if name not in sys.modules:
            sys.modules[name] = _Harness(name)
    yield lambda name: importlib.import_module(f"vlmeval.{name}")
    for name in set(sys.modules) - set(before):
        if name.startswith("vlmeval") or isinstance(sys.modules[name], _Harness):
            del sys.modules[name]


@pytest.fixture
def cases(scoring: Scoring, tmp_path: Path) -> dict[str, Case]:
    """Its two rules for options, without a language model for what they cannot read: one knows the options' texts, the
    other, of the spatial benchmarks, does not.
    """

    def knowing_texts(case: Case, answer: str) -> float:
        texts = case.row.get("choices") or [case.row[letter] for letter in "ABCD" if letter in case.row]
        options = dict(zip("ABCD", texts or REALWORLDQA_OPTIONS, strict=False))
        return float(scoring("utils.matching_util").can_infer(answer, options) == case.letter)

    def spatial(case: Case, answer: str) -> float:
        frame = pd.DataFrame([{"prediction": answer, "answer": case.letter}])
        return float(scoring("dataset.utils.spatial_bench.cal_scores").compute_mcq_score(frame)["hit"].iloc[0])

    rules = {
        **dict.fromkeys(("3dsr", "cv", "blink", "realworldqa"), knowing_texts),
        **dict.fromkeys(("embspatial", "viewspatial", "mmsi", "spar", "vsi"), spatial),
    }
    return option_cases(tmp_path, rules)


def number_score(scoring: Scoring, answer: str, truth: str) -> float:
    """Of SPAR-Bench's and VSI-Bench's numbers."""
    frame = pd.DataFrame([{"prediction": answer, "answer": truth}])
    return float(scoring("dataset.utils.spatial_bench.cal_scores").compute_na_score(frame)["MRA:.5:.95:.05"].iloc[0])


def test_marks_of_options_agree_but_for_the_table_in_the_readme(cases: dict[str, Case]) -> None:
    assert rows_in_readme("| answer", "ours", *cases) == table_of_differences(cases)


def test_marks_of_numbers_agree_but_for_the_table_in_the_readme(scoring: Scoring, tmp_path: Path) -> None:
    distance = {**test_vsi.COUNT, "question_type": "object_abs_distance", "ground_truth": "2.0"}
    write_parquet(tmp_path / test_spar.TEST, [test_spar.NUMBER])
    test_vsi.write(tmp_path, distance)
    (spar,), (vsi,) = load(Spar(), tmp_path)[0], load(Vsi(), tmp_path)[0]
    rows = []
    for answer in NUMBER_ANSWERS:
        ours = {Spar().score(spar, answer).score, Vsi().score(vsi, answer).score}
        assert len(ours) == 1, f"{answer!r}: {ours}"
        rows += table_row(answer, ours.pop(), {"both": number_score(scoring, answer, "2.0")})
    assert rows_in_readme("| answer", "ours", "spar and vsi") == rows


@settings(max_examples=50, deadline=None)
@given(moved=moves(0.9), truly=moves(1.0))
def test_marks_of_motions_agree(scoring: Scoring, moved: dict[str, float], truly: dict[str, float]) -> None:
    theirs = scoring("dataset.sparbench").SparBench._compute_vci_metric(written(moved), written(truly))
    assert motion_accuracy(moved, truly) == pytest.approx(theirs)


def test_marks_of_omni3d_bench_agree_but_for_the_table_in_the_readme(scoring: Scoring, tmp_path: Path) -> None:
    asked = (test_omni3d_bench.COUNT, test_omni3d_bench.NUMBER, test_omni3d_bench.YES, test_omni3d_bench.WHICH)
    write_parquet(tmp_path / test_omni3d_bench.TRAIN, list(asked))
    questions, _ = load(Omni3dBench(), tmp_path)

    def theirs(row: Row, answer: str) -> float:
        told = scoring("dataset.utils.omni3dbench").Omni3DBench_acc(pd.DataFrame([{**row, "prediction": answer}]))
        return float(told.iloc[0].dropna().item())

    rows = []
    for answer in OMNI3D_ANSWERS:
        for row, question in zip(asked, questions, strict=True):
            ours = Omni3dBench().score(question, answer).score
            rows += table_row(f"{answer} (truth: {row['answer']})", ours, {"omni3d": theirs(row, answer)})
    assert rows_in_readme("| answer", "ours", "omni3d") == rows


@settings(max_examples=50, deadline=None)
@given(lengths_cm=st.lists(LENGTHS_CM, min_size=1, max_size=8))
def test_marks_of_q_spatial_bench_agree(
    scoring: Scoring, tmp_path_factory: pytest.TempPathFactory, lengths_cm: list[tuple[int, int]]
) -> None:
    rows = [{**test_qspatial.PLUS, "answer_value": float(truth)} for _, truth in lengths_cm]
    folder = tmp_path_factory.mktemp("qspatial")
    write_parquet(folder / test_qspatial.PLUS_FILE, rows)
    questions, _ = load(QSpatial(), folder)
    scored = [
        QSpatial().score(question, f"{answer / 100} m").score
        for question, (answer, _) in zip(questions, lengths_cm, strict=True)
    ]
    vqa = scoring("dataset.image_vqa")
    frame = pd.DataFrame(
        {
            "prediction": [rf"\scalar{{{answer}}} \distance_unit{{cm}}" for answer, _ in lengths_cm],
            "answer": [str((float(truth), "centimeter")) for _, truth in lengths_cm],
            "question_type": "1d_horizontal",
        }
    )
    vqa.load = lambda file: frame
    vqa.QSpatial.evaluate("answers.xlsx")
    assert scored == [float(is_right) for is_right in frame["eval_score_delta_2"]]


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(SHARE, min_size=20, max_size=60))
def test_the_figures_of_spar_bench_agree(scoring: Scoring, scores: list[float]) -> None:
    tasks = [task for tasks in LEVELS.values() for task in tasks]
    bench = scoring("dataset.sparbench").SparBench
    columns = {"MCQ": "hit", "NA": "MRA:.5:.95:.05", "SPECIAL": "vci_metric"}
    docs: dict[str, list[Row]] = {kind: [] for kind in columns}
    scored = []
    for number, score in enumerate(scores):
        task = tasks[number % len(tasks)]
        kind = bench.get_task_type(task)
        docs[kind].append({"task": task, columns[kind]: score})
        scored.append(ScoredAnswer(bare_question(task), None, score))
    theirs = bench()._aggregate(*(pd.DataFrame(docs[kind]) for kind in columns))
    ours = Spar().summarise(scored)
    assert ours["overall"] == pytest.approx(theirs["overall"])
    for level in ("low", "middle", "high"):
        assert ours[f"source/{level}"] == pytest.approx(theirs[level.capitalize()])


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(SHARE, min_size=10, max_size=40))
def test_the_figures_of_vsi_bench_agree(scoring: Scoring, scores: list[float]) -> None:
    tasks = [*UNITS, *CHOICES]
    choices, numbers, scored = [], [], []
    for number, score in enumerate(scores):
        task = tasks[number % len(tasks)]
        (numbers if task in UNITS else choices).append({"question_type": task, "hit": score, "MRA:.5:.95:.05": score})
        scored.append(ScoredAnswer(bare_question(task), None, score))
    theirs = scoring("dataset.vsibench").VsiBench("VSI-Bench")._aggregate(pd.DataFrame(choices), pd.DataFrame(numbers))
    assert 100 * Vsi().summarise(scored)["overall"] == pytest.approx(theirs["overall"])


@settings(max_examples=50, deadline=None)
@given(right=st.lists(st.booleans(), min_size=2, max_size=30))
def test_the_figure_of_cv_bench_in_2d_agrees(scoring: Scoring, right: list[bool]) -> None:
    sources = [("ADE20K", "COCO")[number % 2] for number in range(len(right))]
    frame = pd.DataFrame({"split": "2D", "source": sources, "hit": [float(is_right) for is_right in right]})
    theirs = scoring("dataset.image_mcq").CVBench().report_accuracy(frame)
    scored = [
        ScoredAnswer(bare_question("Count", source), None, float(is_right))
        for source, is_right in zip(sources, right, strict=True)
    ]
    assert CvBench().summarise(scored)["2D"] == pytest.approx(theirs["Overall"].item())


@settings(max_examples=50, deadline=None)
@given(right=st.lists(st.booleans(), min_size=12, max_size=12))
def test_flip_and_circular_figures_of_3dsrbench_agree(
    scoring: Scoring, tmp_path_factory: pytest.TempPathFactory, right: list[bool]
) -> None:
    rows = three_dsr_rows()
    folder = tmp_path_factory.mktemp("3dsr")
    write_tsv(folder / CIRCULAR, rows)
    questions, _ = load(ThreeDsr(), folder)
    scored = [
        ScoredAnswer(question, None, float(is_right)) for question, is_right in zip(questions, right, strict=True)
    ]
    ours = ThreeDsr().summarise(scored)
    frame = pd.DataFrame(rows).assign(prediction="?", hit=[float(is_right) for is_right in right])
    scoring("dataset.utils.multiple_choice").mcq_vanilla_eval = lambda model, data, *_: data  # scored already
    mcq = scoring("dataset.image_mcq")
    mcq.load = lambda file: frame
    told = mcq._3DSRBench.evaluate(SimpleNamespace(data=frame, dataset_name="3DSRBench"), "answers.xlsx")
    theirs = dict(zip(told["setting"], told["Overall"], strict=True))
    names = {"plain": "vanilla", "flip": "flip_eval", "circular": "circ_eval", "flip_circular": "flip_circ_eval"}
    assert {name: ours[name] for name in names} == pytest.approx({ours: theirs[name] for ours, name in names.items()})
