"""What the comparisons with other harnesses share: answers, questions of every benchmark, the README's tables."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from hypothesis import strategies as st

from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.blink import Blink
from evaluation.benchmarks.cv import CvBench
from evaluation.benchmarks.embspatial import EmbSpatial
from evaluation.benchmarks.mmsi import Mmsi
from evaluation.benchmarks.question import Question
from evaluation.benchmarks.realworldqa import RealWorldQa
from evaluation.benchmarks.sat import Sat
from evaluation.benchmarks.spar import AXES, Spar
from evaluation.benchmarks.three_dsr import CIRCULAR, ThreeDsr
from evaluation.benchmarks.viewspatial import ViewSpatial
from evaluation.benchmarks.vsi import Vsi
from spatial.sample import ChoiceAnswer, ImageRef, ReasoningPath, SpatialSample
from tests.evaluation.benchmarks import (
    test_blink,
    test_cv,
    test_embspatial,
    test_mmsi,
    test_realworldqa,
    test_sat,
    test_spar,
    test_three_dsr,
    test_viewspatial,
    test_vsi,
)
from tests.evaluation.benchmarks.layouts import Row, load, write_json, write_parquet, write_tsv

README = Path(__file__).parents[3] / "evaluation" / "benchmarks" / "README.md"


ANSWERS = (
    *("R", "R.", "(R)", "R)", " R ", "R. text", "R: text", "(R) text", "R text"),
    *("r", "**R**", "`R`"),
    *("Answer: R", "The answer is R", "The correct answer is (R).", "Option R", "the option R is right", "So it is R"),
    *("R<newline>because it is so", "it is so<newline>R", "Neither (W) nor its mirror: the answer is (R)"),
    *("W", "(W)", "w", "W. text", "The answer is W", "It is R, not W", "It is not W, so R", "W or R"),
    *(
        "The answer is **R**. Option W fails.",
        "Point R is closer than point W",
        "r) text",
        "答案是R",
        "None of (R) or (W)",
    ),
    *("", "42", "1.5 m", "text", "I cannot tell", "E", "Zebra", "[R]umour has it"),
)
"""R stands for the letter of the right option and W for a wrong one, in either case; [R] also within a word."""


NUMBER_ANSWERS = (
    *("2.0", "2", "2.", " 2.0 ", "2.1", "1.5", "3.1", "0", "-2", "2 m", "2.0 meters", "about 2 m", "It is 2."),
    *("200 cm", "2e0", "two", "1.5 to 2 m", "2 or 3 m", "1.5 + 0.5 = 2.0", "2,0", "far", ""),
    *("2 meters (6.6 feet)", "20 dm", "2 parsecs", "2 o'clock", "200厘米"),
)
"""Of a truth of 2 metres."""


@dataclass(frozen=True)
class Case:
    """One question in both harnesses."""

    benchmark: Benchmark
    question: Question
    row: Row
    """As its file has it."""
    theirs: "Rule"

    @property
    def letter(self) -> str:
        """Of the right option."""
        truth = self.question.sample.answer
        assert isinstance(truth, ChoiceAnswer)
        return truth.letter

    def scores(self, answer: str) -> tuple[float, float]:
        """Ours and theirs of one of `ANSWERS`, with the question's own letters in it."""
        wrong = "A" if self.letter != "A" else "B"
        letters = {"R": self.letter, "W": wrong, "r": self.letter.lower(), "w": wrong.lower()}
        words = re.sub(
            r"(?<![A-Za-z])[RWrw](?![A-Za-z\]])", lambda match: letters[match[0]], answer.replace("<newline>", "\n")
        )
        words = words.replace("[R]", self.letter)
        return self.benchmark.score(self.question, words).score, self.theirs(self, words)


Rule = Callable[[Case, str], float]
"""A harness's score of an answer."""

ROWS: tuple[tuple[Benchmark, Row], ...] = (
    (ThreeDsr(), test_three_dsr.FOUR),
    (EmbSpatial(), test_embspatial.ROW),
    (Sat(), test_sat.ROW),
    (ViewSpatial(), test_viewspatial.ROW),
    (Mmsi(), test_mmsi.ROW),
    (Spar(), test_spar.CHOICE),
    (Vsi(), test_vsi.CLOSEST),
    (CvBench(), test_cv.COUNT),
    (Blink(), test_blink.ROW),
    (RealWorldQa(), test_realworldqa.CHOICE),
)
"""A question of each benchmark of single options, from the fixtures of our loaders."""


def option_cases(folder: Path, rules: Mapping[str, Rule]) -> dict[str, Case]:
    """The question of each benchmark that there is a rule for, by the benchmark's name."""
    write_tsv(folder / CIRCULAR, [test_three_dsr.FOUR])
    write_json(folder / "embspatial_bench.json", [test_embspatial.ROW])
    test_viewspatial.write(folder, [test_viewspatial.ROW])
    write_parquet(folder / "SAT_test.parquet", [test_sat.ROW])
    write_parquet(folder / "MMSI_Bench.parquet", [test_mmsi.ROW])
    write_parquet(folder / "spar" / test_spar.TEST, [test_spar.CHOICE])
    test_vsi.write(folder / "vsi", test_vsi.CLOSEST)
    write_parquet(folder / test_cv.TWO, [test_cv.COUNT])
    test_blink.write(folder, test_blink.ROW)
    write_parquet(folder / "realworldqa" / test_realworldqa.TEST, [test_realworldqa.CHOICE])
    cases = {}
    for benchmark, row in ROWS:
        if benchmark.name in rules:
            own = folder / benchmark.name
            (question, *_), _ = load(benchmark, own if own.is_dir() else folder)
            cases[benchmark.name] = Case(benchmark, question, row, rules[benchmark.name])
    return cases


def table_of_differences(cases: Mapping[str, Case]) -> list[str]:
    """The README's rows but for the reasons: an answer, our score, and theirs by benchmark where it differs."""
    rows = []
    for answer in ANSWERS:
        scores = {name: case.scores(answer) for name, case in cases.items()}
        ours = {score for score, _ in scores.values()}
        assert len(ours) == 1, f"{answer!r}: {scores}"
        rows += table_row(answer, ours.pop(), {name: theirs for name, (_, theirs) in scores.items()})
    return rows


def table_row(answer: str, ours: float, theirs: Mapping[str, float]) -> list[str]:
    """A row but for the reason; none where all agree."""
    cells = [f"{score:g}" if abs(score - ours) > 1e-9 else "" for score in theirs.values()]
    shown = f"`` {answer} ``" if "`" in answer else f"`{answer}`" if answer else "(empty)"
    return [" | ".join([f"| {shown}", f"{ours:g}", *cells])] if any(cells) else []


def rows_in_readme(*head: str) -> list[str]:
    """The rows but for the reasons, each of which must have one, of the table with this head."""
    lines = README.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(" | ".join(head) + " | why |"))
    rows = []
    for line in takewhile(lambda line: line.startswith("|"), lines[start + 2 :]):
        row, reason = line.removesuffix(" |").rsplit(" | ", maxsplit=1)
        assert reason.strip(), f"no reason for {row}"
        rows.append(row)
    return rows


def moves(scale: float) -> st.SearchStrategy[dict[str, float]]:
    """Answers of SPAR-Bench's questions of how the camera moved."""
    names = st.sampled_from([move for axis in AXES for move in axis])
    return st.dictionaries(names, st.integers(0, 90).map(lambda value: round(value * scale, 4)), min_size=1, max_size=6)


def written(moved: Mapping[str, float]) -> str:
    return ",".join(f"{move}:{value:g}" for move, value in moved.items())


def bare_question(task: str, source: str = "") -> Question:
    """One that is only summed up."""
    sample = SpatialSample(
        sample_id="x",
        domain="test",
        kind=task,
        paths=(ReasoningPath.LOR,),
        images=(ImageRef(sha256="0" * 64, width_px=8, height_px=6),),
        question="?",
        answer=ChoiceAnswer(letter="A", num_options=2),
    )
    return Question(sample, task, source)


def three_dsr_rows() -> list[Row]:
    """A question of two options and one of four, each with its flip, in all orders."""
    two = [test_three_dsr.ROW, test_three_dsr.TURNED, test_three_dsr.FLIP, test_three_dsr.FLIP_TURNED]
    names = [f"QQQQQQQQ{flip}{order}" for flip in ("", "-flip") for order in ("", "-1", "-2", "-3")]
    return [*two, *({**test_three_dsr.FOUR, "qid": name} for name in names)]
