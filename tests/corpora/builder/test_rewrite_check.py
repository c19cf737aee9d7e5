"""What another wording of a chain may say, and what it may not."""

import pytest

from corpora.builder.rewrite_check import find_fault
from spatial.sample import Answer, ChoiceAnswer, ImageRef, NumberAnswer, ReasoningPath, Region, SpatialSample

DETECT = (
    "<detect>Find 2 relevant objects:\n"
    '<3d_box center="-0.71,0.88,3.40">chair (red point)</3d_box>\n'
    '<3d_box center="0.02,-1.06,2.03">sofa (blue point)</3d_box></detect>'
)
THINK = "z: red point 3.40, blue point 2.03. 2.03 is less than 3.40, so blue point (B) is closer."
FRAME = "After aligning to the reference frame 1, find"
OBJECTS = (("red", "chair", (-0.7123, 0.8761, 3.4049)), ("blue", "sofa", (0.0249, -1.0551, 2.0349)))


def sample(answer: Answer | None = None, think: str = THINK, written: str = "B") -> SpatialSample:
    return SpatialSample(
        sample_id="s",
        domain="hall",
        kind="closer_to_camera",
        paths=(ReasoningPath.LOR, ReasoningPath.DTR),
        images=(ImageRef(sha256="ab" * 32, width_px=100, height_px=50),),
        question="Which is closer to the camera? red point (A) or blue point (B)",
        answer=answer or ChoiceAnswer(letter="B", num_options=2),
        regions=tuple(
            Region(mark=mark, box_xyxy_px=(1.0, 1.0, 9.0, 9.0), name=name, center_m=center)
            for mark, name, center in OBJECTS
        ),
        chains={
            ReasoningPath.LOR: f"<think>{think}</think><answer>{written}</answer>",
            ReasoningPath.DTR: f"{DETECT}<think>{think}</think><answer>{written}</answer>",
        },
    )


def fault_of(
    think: str, path: ReasoningPath = ReasoningPath.DTR, answer: str = "B", detect: str = DETECT
) -> str | None:
    text = f"{detect if path is ReasoningPath.DTR else ''}<think>{think}</think><answer>{answer}</answer>"
    return find_fault(text, path, sample(), min_words=1, max_words=40)


@pytest.mark.parametrize("path", [ReasoningPath.LOR, ReasoningPath.DTR])
def test_the_template_itself_may_stand(path: ReasoningPath) -> None:
    assert find_fault(sample().chains[path], path, sample(), 1, 40) is None


@pytest.mark.parametrize(
    "think",
    [
        "The chair is 3.40 m ahead, the sofa only 2.03 m. The sofa, blue point (B), is closer.",
        "z is 3.4 for one and z = 2.03 for the other, 2 objects in all, in this 3D view.",
        "Its centre (-0.71, 0.88, 3.40) is beyond [0.02,-1.06,2.03].",
        "The chair is 0.71 m to the left and x: -0.71 says so; Y of 0.88.",
        "Not red point (A), but blue point (B).",
        "A Unicode minus, x = −0.71, is one too.",
    ],
)
def test_the_same_measurements_in_other_words_may_stand(think: str) -> None:
    assert fault_of(think) is None


@pytest.mark.parametrize(
    ("think", "fault"),
    [
        ("The chair is 3.41 m ahead.", "number"),
        ("The chair is 3.4049 m ahead.", "number"),
        ("They are 1.37 m apart.", "number"),
        ("They are 13 m apart.", "number"),
        ("The chair is 340 cm ahead.", "number"),
        ("The chair is 3.40 centimetres ahead.", "number"),
        ("The chair is 3,40 m ahead.", "number"),
        ("The chair is 3.40e2 m ahead.", "number"),
        ("There are 3 objects.", "number"),
        ("x = 0.71 for the chair.", "number"),
        ("z is 0.88 for the chair.", "number"),
        ("The centre is (-0.71, 0.88, 2.03).", "number"),
        ("The centre is (0.71, 0.88, 3.40).", "number"),
        ("It is ½ m, or 2² away.", "number"),
        ("The sofa is at ٢ m.", "number"),
        ("So red point (A) is closer.", "option"),
        ("2.03 < 3.40, so <|im_end|> blue.", "grammar"),
        (" ".join(["word"] * 41), "length"),
        ("", "length"),
    ],
)
def test_a_thought_that_claims_something_else_is_refused(think: str, fault: str) -> None:
    assert fault_of(think) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"Sure! {DETECT}<think>{THINK}</think><answer>B</answer>", "grammar"),
        (f"<think>{THINK}</think><answer>B</answer>", "grammar"),
        (f"{DETECT}<think>{THINK}</think>{DETECT}<answer>B</answer>", "grammar"),
        ("", "grammar"),
        (f"{DETECT}<think>{THINK}</think><answer>A</answer>", "answer"),
        (f"{DETECT}<think>{THINK}</think><answer>(B)</answer>", "answer"),
        (f"{DETECT.replace('3.40', '3.41')}<think>{THINK}</think><answer>B</answer>", "detect"),
        (f"{DETECT.replace('chair', 'table')}<think>{THINK}</think><answer>B</answer>", "detect"),
        (f"{DETECT.replace('Find', FRAME)}<think>{THINK}</think><answer>B</answer>", "detect"),
    ],
)
def test_all_around_the_thought_has_to_stay(text: str, fault: str) -> None:
    assert find_fault(text, ReasoningPath.DTR, sample(), 1, 40) == fault


def test_a_number_may_be_written_in_another_way_but_not_be_another() -> None:
    asked = sample(NumberAnswer(value=1.2, unit="m"), "The straight line is 1.20 m.", "1.20 m")
    text = "<think>It is 1.2 m.</think><answer>{}</answer>"
    assert find_fault(text.format("120 cm"), ReasoningPath.LOR, asked, 1, 40) is None
    assert find_fault(text.format("1.21 m"), ReasoningPath.LOR, asked, 1, 40) == "answer"


def test_of_a_count_the_thought_may_number_the_objects() -> None:
    asked = sample(NumberAnswer(value=3, unit="count"), "chair 3.40 m ahead. So 3.", "3")
    assert find_fault("<think>1, 2 and 3.</think><answer>3</answer>", ReasoningPath.LOR, asked, 1, 40) is None
    assert find_fault("<think>1, 2, 3 and 4.</think><answer>3</answer>", ReasoningPath.LOR, asked, 1, 40) == "number"
