"""Letters in answers as people and models write them. There are four options unless a test says otherwise."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.letters import read_letter

DRESSED = (
    "B",
    "b",
    "(b).",
    "**B**",
    "`B`",
    "[B]",
    "{B}",
    "<B>",
    "> B",
    "- B",
    "1. B",
    "Ｂ",
    "（B）",
    "'B'",
    "$B$",
    "### B",
)
LATEX = (r"\boxed{B}", r"$\boxed{\text{B}}$", r"\text{B}", r"\(B\)", r"The answer is $B$.", r"\[\boxed{B}\]")
BEFORE_ITS_OPTION = (
    "B. left",
    "B) A cat",
    "B: left",
    "B, left",
    "B - left",
    "b) left",
    "(b) left",
    "b. left",
    "B、左边",
    "B：左",
)
CALLED_THE_ANSWER = (
    "the answer is B",
    "Answer: B",
    "ANSWER: b",
    "**Final answer**: (B)",
    "The correct option is **B**: left",
    "The best answer would be option B.",
    "The answer is B because A stands behind it.",
    "The answer is: 'B'.",
    "Answer:\n\n(B) left",
    "A. left\nB. right\nC. up\nD. down\nAnswer: B",
    "If the answer were A, it would be left. So the answer is B.",
    "Neither (A) nor its mirror: the answer is (B)",
    "The correct answer is **B**. Option A fails, for it lies behind.",
    "Looking at point A first. The answer is Point B.",
    "So the best choice is:\n(B) Picture B, one triangle that points up, as in set (C).",
    "The answer is B, (A) is behind.",
)
CHOSEN = ("I choose B", "I would go with option B.", "B is the correct answer.", "Option B is right", "(B) is correct.")
CHINESE = (
    "答案是B",
    "答案：B",
    "正确答案是（B）。",
    "B选项",
    "选项B",
    "选B",
    "我选择B。",
    "不选A，选B",
    "答案不是A，而是B",
    "B是正确的",
)
ALONE = (
    "it must be B",
    "It's B.",
    "B left",
    "So it is B",
    "It is B, not A",
    "It is not A, so B",
    "not (A) but (B)",
    "Image B",
)
LINES = ("B\nIt stands left of the cup.", "It stands left of the cup.\nB", "**B**\n\nA is hidden, and C is behind.")
EXPLAINED = (
    "(B) B is closer.\n\nThe points A and B are on a leaf. Point A is further away than point B.",
    "(B) Box B\n\nBox B fits closely. Box A, on the other hand, has much around it.",
    "B. It is nearer than point A. Point B is on the car.",
)
ALSO = (
    *(
        "B.left",
        "The answer is B.left",
        "Answer → B",
        "Answer\nB",
        '{"answer": "B"}',
        "<answer>B</answer>",
        "answer is b",
    ),
    *("The answer is most likely B", "I'm not sure, but I think B.", "It can't be A, so it's B", "B?", "left (B)"),
    *("A is wrong. B is right.", "A is incorrect, B is correct.", "The answer is **(B)**, because (A) is farther."),
    *("(B), because (A) is behind.", "The answer is (B), not (A).", "Looking at A, B, C and D, I choose B."),
    *("The correct answer is left, which is option B.", "A cat is on the mat. The answer is B.", r"\boxed{B. left}"),
    *(
        "B 是正确答案",
        "正确选项为B",
        "A不对，正确的是B",
        "A错误，选B",
        "B。因为A在后面",
        "The final answer is $\\boxed{B}$.",
    ),
    *("The closest one is point B, and point A is farther.", "The closer point is B, not A."),
)
NEARER = (
    "Point B is closer to the camera than point A.",
    "Point B, on the car, is nearer than point A, on the wall.",
    "I think that B appears to be much closer to the viewer than A does.",
)


@pytest.mark.parametrize(
    "answer",
    [
        *(
            *DRESSED,
            *LATEX,
            *BEFORE_ITS_OPTION,
            *CALLED_THE_ANSWER,
            *CHOSEN,
            *CHINESE,
            *ALONE,
            *LINES,
            *EXPLAINED,
            *ALSO,
            *NEARER,
        ),
        "The answer is A. No, the answer is B",
        "Answer: A\nWait, on second thought, the answer is B.",
        "Answer: A\nFinal answer: B",
        "Option B is the only one that fits.",
    ],
)
def test_the_option_that_an_answer_names_is_read(answer: str) -> None:
    assert read_letter(answer, num_options=4) == "B"


LISTS = (
    "A or B",
    "A/B/C/D",
    "A, B, C, D",
    "Answer: A, B, C and D",
    "The answer is A or B.",
    "答案是A或B",
    "(A) left (B) right (C) up (D) down",
    "A. left B. right C. up D. down",
    "A. left\nB. right\nC. up\nD. down",
    "None of (A) 4, (B) 3, (C) 5 or (D) 6 is right.",
    "Which one fits?\nOption A: one\nOption B: two\nOption C: three\nOption D: four\nPlease pick one.",
    "The correct answer is:\nA) left\nB) right",
    "So the answers are:\n(A) left\n(D) down",
    "Therefore, the answer is (A) the second image or (B) the third image.",
    "Therefore, the correct answer is (A) picture A, (B) picture B and (C) picture C.",
)
NO_LETTERS = (
    "No, the board is not left of the bed. A man stands behind it.",
    "Answer: A man stands there.",
    "The answer is a dog.",
    "I cannot tell",
    "A.M.",
    "The correct answer is not applicable (N/A).",
    "Paul Cézanne",
    "Because",
    "b is closer",  # a small letter counts alone, or dressed
    "1.5 m",
    "Plan B's better",
    "",
)
PLACES = (
    "The camera stands at position A. The answer is left.",
    "The camera stands at position A.",
    "From point A one sees the door.",
    "The surface colors at points A and B appear to be about the same.",
)
DENIED = (
    "Neither A nor B",
    "It is not A.",
    "I don't think the answer is A.",
    "Point A is not closer than point B.",
    "Neither box A nor box B encloses the dress. Box A surrounds the face.",
    "So neither choice (A) or (B) is more correct.",
    "It is not possible to tell which is closer. Point B appears larger.",
)
CONTRADICTIONS = (
    "The answer is A.\nThe answer is B.",
    "The second image (B) fits better. So the answer is (A).",
    "I choose point D, not the handle (B).\nThe edge (C) is worse.",
    "Therefore, image (B) is the one that is real.\n\nC",
)
NO_OPTIONS = ("E", "The answer is (E) none of them", "(B) and (A) aside, I select (F)", "None of the above")


@pytest.mark.parametrize("answer", [*LISTS, *NO_LETTERS, *PLACES, *DENIED, *CONTRADICTIONS, *NO_OPTIONS])
def test_an_answer_that_names_no_one_option_is_not_read(answer: str) -> None:
    assert read_letter(answer, num_options=4) is None


def test_a_conclusion_in_brackets_is_not_overruled_by_a_list_of_verdicts() -> None:
    verdicts = "(A) has four sides.\n(B) has three.\n(C) has none.\n"
    assert read_letter(f"{verdicts}Therefore, the correct answer is:\n(B) picture B", num_options=4) == "B"
    assert read_letter(f"{verdicts}Image (A) could be right, too.", num_options=4) is None


def test_what_opens_a_list_of_verdicts_is_not_the_answer() -> None:
    verdicts = "Let's look at each option:\n\nOption (A):\nIt is too small.\n\nOption (B):\nIt fits.\n\n"
    assert read_letter(verdicts, num_options=2) is None
    assert read_letter(f"{verdicts}The answer is (B).", num_options=2) == "B"


def test_a_letter_on_the_first_line_needs_a_long_explanation_to_come_back_to_it() -> None:
    explanation = "The second image shows the missing part of the wall, and the third does not. " * 5
    assert read_letter(f"B\n{explanation}", num_options=4) is None
    assert read_letter(f"B\n{explanation}It is B.", num_options=4) == "B"


def test_the_letters_of_the_options_alone_count() -> None:
    assert read_letter("C", num_options=2) is None
    assert read_letter("C", num_options=3) == "C"
    assert read_letter("Therefore, the answer is (C) none of them. A is no match.", num_options=2) is None
    assert read_letter("The third image (C) is most similar to the first image (A).", num_options=2) is None
    assert read_letter("I think so", num_options=9) is None  # the pronoun
    assert read_letter("The answer is I.", num_options=9) == "I"


@settings(max_examples=50, deadline=None)
@given(answer=st.text(alphabet="AaBb ()*.:answerio\n,", max_size=40), num_options=st.integers(2, 26))
def test_any_answer_gives_one_of_the_letters_or_none(answer: str, num_options: int) -> None:
    assert read_letter(answer, num_options) in {None, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:num_options]}


@pytest.mark.parametrize("piece", ["A", "A ", "(A", "A,", "the answer is ", "A\n", "is ", " \n", "\\text{", "B or "])
def test_a_long_answer_is_read_in_time(piece: str) -> None:
    start = time.perf_counter()
    read_letter(piece * 4000, num_options=4)
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize("answer", ["It is a D-shaped table.", "a C-clamp holds it"])
def test_a_letter_that_begins_a_word_is_no_option(answer: str) -> None:
    assert read_letter(answer, 4) is None
