import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial.grammar import (
    MAX_BOXES,
    TAGS,
    Box3D,
    format_box,
    format_detect_block,
    format_response,
    parse_response,
    read_number,
)
from spatial.sample import ReasoningPath

TWO_BOXES = """Find 2 relevant objects:
<3d_box center="0.02,1.06,2.03">cabinet (red point)</3d_box>
<3d_box center="-0.71,0.88,3.40">chair (blue point)</3d_box>"""
ONE_BOX = '<3d_box center="1.00,2.00,3.00">cube</3d_box>'


def dtr(detect: str) -> str:
    return f"<detect>{detect}</detect><think>because</think><answer>A</answer>"


# --- writing


def test_a_detect_block_is_written_as_method_md_shows_it() -> None:
    centers = ((0.02, 1.06, 2.03), (-0.71, 0.88, 3.4))
    assert format_detect_block(centers, ("cabinet (red point)", "chair (blue point)")) == TWO_BOXES


def test_a_reference_frame_is_named_in_the_header() -> None:
    block = format_detect_block([(1.0, 2.0, 3.0)], ["cube"], frame=1)
    assert block == f"After aligning to the reference frame 1, find 1 relevant objects:\n{ONE_BOX}"


@pytest.mark.parametrize("value", [-0.0, -0.004, -0.0049999, -1e-12])
def test_minus_zero_is_never_written(value: float) -> None:
    assert format_box(Box3D((value, 0.0, 1.0), "cube")) == '<3d_box center="0.00,0.00,1.00">cube</3d_box>'


def test_a_whole_box_is_written_with_size_and_yaw() -> None:
    box = Box3D((1.0, 2.0, 3.0), "cube", (0.5, 0.25, 2.0), -30.0)
    assert format_box(box) == '<3d_box center="1.00,2.00,3.00" size="0.50,0.25,2.00" yaw="-30.00">cube</3d_box>'


@pytest.mark.parametrize("name", ["a<b", "a>b", "a\nb"])
def test_a_name_that_could_not_be_read_back_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match="box name"):
        format_detect_block([(0.0, 0.0, 1.0)], [name])


def test_a_number_that_is_not_finite_is_not_written() -> None:
    with pytest.raises(ValueError, match="not finite"):
        format_detect_block([(0.0, float("nan"), 1.0)], ["cube"])


def test_centers_and_names_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        format_detect_block([(0.0, 0.0, 1.0)], [])


def test_a_box_with_a_size_but_no_yaw_is_not_written() -> None:
    with pytest.raises(ValueError, match="come together"):
        format_box(Box3D((0.0, 0.0, 1.0), "cube", (1.0, 1.0, 1.0)))


def test_a_section_that_quotes_a_tag_is_not_written() -> None:
    with pytest.raises(ValueError, match="quotes a tag"):
        format_response(ReasoningPath.LOR, think="I write <answer>", answer="A")


@pytest.mark.parametrize(("path", "detect"), [(ReasoningPath.LOR, TWO_BOXES), (ReasoningPath.DTR, None)])
def test_a_detect_section_is_for_dtr_and_only_for_it(path: ReasoningPath, detect: str | None) -> None:
    with pytest.raises(ValueError, match="DTR needs a detect section, and no other path"):
        format_response(path, think="", answer="A", detect=detect)


# --- reading: whole responses


def test_a_language_only_response_is_read() -> None:
    parsed = parse_response(ReasoningPath.LOR, " <think>\n it is near </think>\n\n<answer> 1.2 m\n</answer>\n")
    assert parsed.well_formed
    assert (parsed.detect, parsed.think, parsed.answer, parsed.boxes) == (None, "it is near", "1.2 m", ())


def test_a_detecting_response_is_read() -> None:
    parsed = parse_response(ReasoningPath.DTR, dtr(f"\n{TWO_BOXES}\n"))
    assert parsed.well_formed
    assert parsed.detect == TWO_BOXES
    assert parsed.boxes == (
        Box3D((0.02, 1.06, 2.03), "cabinet (red point)"),
        Box3D((-0.71, 0.88, 3.4), "chair (blue point)"),
    )
    assert parsed.reference_frame is None


def test_a_reference_frame_is_read() -> None:
    block = format_detect_block([(1.0, 2.0, 3.0)], ["cube"], frame=12)
    parsed = parse_response(ReasoningPath.DTR, dtr(block))
    assert parsed.well_formed
    assert parsed.reference_frame == 12


def test_empty_sections_are_sections() -> None:
    assert parse_response(ReasoningPath.LOR, "<think></think><answer></answer>").well_formed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", None),
        ("A", None),
        ("<answer>A</answer>", "A"),
        ("<think>x<answer>A</answer>", "A"),
        ("<think>x</think><answer>A", None),
        ("<think>x</think>A</answer>", None),
        ("<think>x</think></answer>A<answer>", None),
        ("<answer>A</answer><think>x</think>", "A"),
        ("so <think>x</think><answer>A</answer>", "A"),
        ("<think>x</think>so<answer>A</answer>", "A"),
        ("<think>x</think><answer>A</answer>!", "A"),
        ("<think>x</think><think>y</think><answer>A</answer>", "A"),
        ("<think>x</think><answer>A</answer><answer>A</answer>", None),
        ("<think>x</think><answer><answer>A</answer></answer>", None),
        ("<think>x</think><answer>A</answer></answer>", None),
        ("<think>I write <answer> next</think><answer>A</answer>", None),
        ("<think>x</think><answer>A <think></answer>", None),
        ("<think>x</think><answer><think>A</think></answer>", None),
        ("<think><answer>A</answer></think>", "A"),
        ("<THINK>x</THINK><ANSWER>A</ANSWER>", None),
        ("<think>x</think><Answer>A</Answer>", None),
        ("<think>x</think>< answer>A</answer>", None),
        ("<think>x</think><answer>A</answer><ANSWER>B</ANSWER>", "A"),
        ("<think><detect></think><answer>A</answer>", "A"),
        (dtr(TWO_BOXES), "A"),
    ],
)
def test_a_malformed_response_is_detected_and_its_answer_read_only_when_it_is_certain(
    text: str, answer: str | None
) -> None:
    parsed = parse_response(ReasoningPath.LOR, text)
    assert not parsed.well_formed
    assert parsed.answer == answer


def test_a_language_only_response_is_malformed_on_the_other_path() -> None:
    assert not parse_response(ReasoningPath.DTR, "<think>x</think><answer>A</answer>").well_formed


def test_sections_in_another_order_are_malformed() -> None:
    text = f"<think>x</think><detect>{TWO_BOXES}</detect><answer>A</answer>"
    assert not parse_response(ReasoningPath.DTR, text).well_formed


# --- reading: detect blocks


@pytest.mark.parametrize(
    "detect",
    [
        f"Find 1 relevant objects:\n{ONE_BOX}",
        f"Find 1 relevant objects: \n\n  {ONE_BOX}\n",
        f"Find 2 relevant objects:\r\n{ONE_BOX}\r\n{ONE_BOX}",
        f"After aligning to the reference frame 0, find 1 relevant objects:\n{ONE_BOX}",
        'Find 1 relevant objects:\n<3d_box center="1,2e0,+3." size="1,1,1" yaw="0">cube</3d_box>',
        'Find 1 relevant objects:\n<3d_box center=" 1, 2, 3 "></3d_box>',
        "Find 0 relevant objects:",
    ],
)
def test_a_detect_block_in_the_grammar_is_well_formed(detect: str) -> None:
    assert parse_response(ReasoningPath.DTR, dtr(detect)).well_formed


@pytest.mark.parametrize(
    ("detect", "num_boxes"),
    [
        ("", 0),
        (ONE_BOX, 1),
        ("Find 1 relevant objects:", 0),
        (f"Find 2 relevant objects:\n{ONE_BOX}", 1),
        (f"Find 0 relevant objects:\n{ONE_BOX}", 1),
        (f"Find 01 relevant objects:\n{ONE_BOX}", 1),
        (f"Find 1 relevant object:\n{ONE_BOX}", 1),
        (f"find 1 relevant objects:\n{ONE_BOX}", 1),
        (f"Find １ relevant objects:\n{ONE_BOX}", 1),
        (f"Find {'9' * 10_000} relevant objects:\n{ONE_BOX}", 1),
        (f"Find one relevant objects:\n{ONE_BOX}", 1),
        (f"Find 1 relevant objects:{ONE_BOX}", 1),
        (f"Find 1 relevant objects:\n- {ONE_BOX}", 1),
        (f"Find 1 relevant objects:\n{ONE_BOX} here", 1),
        (f"Find 2 relevant objects:\n{ONE_BOX}{ONE_BOX}", 2),
        (f"Find 2 relevant objects:\n{ONE_BOX} {ONE_BOX}", 2),
        (f"Find 1 relevant objects:\n{ONE_BOX}\n<3d_box", 1),
    ],
)
def test_a_detect_block_outside_the_grammar_is_malformed_but_its_boxes_are_read(detect: str, num_boxes: int) -> None:
    parsed = parse_response(ReasoningPath.DTR, dtr(detect))
    assert not parsed.well_formed
    assert len(parsed.boxes) == num_boxes


@pytest.mark.parametrize(
    "box",
    [
        '<3d_box center="1,2">cube</3d_box>',
        '<3d_box center="1">cube</3d_box>',
        '<3d_box center="">cube</3d_box>',
        '<3d_box center="1,2,">cube</3d_box>',
        '<3d_box center="1,2,3,4">cube</3d_box>',
        '<3d_box center="1,2,3,">cube</3d_box>',
        '<3d_box center="1 2 3">cube</3d_box>',
        '<3d_box center="nan,1,1">cube</3d_box>',
        '<3d_box center="1,inf,1">cube</3d_box>',
        '<3d_box center="1,1,1e999">cube</3d_box>',
        '<3d_box center="１,2,3">cube</3d_box>',
        '<3d_box center="1_0,2,3">cube</3d_box>',
        '<3d_box center="1,2,3m">cube</3d_box>',
        "<3d_box center='1,2,3'>cube</3d_box>",
        '<3D_BOX center="1,2,3">cube</3D_BOX>',
        '<3d_box center="1,2,3">cube',
        '<3d_box center="1,2,3">a<b</3d_box>',
        '<3d_box center="1,2,3" size="1,1,1">cube</3d_box>',
        '<3d_box center="1,2,3" yaw="5">cube</3d_box>',
        '<3d_box center="1,2,3" size="1,1" yaw="5">cube</3d_box>',
        '<3d_box center="1,2,3" size="1,1,-1" yaw="5">cube</3d_box>',
        '<3d_box center="1,2,3" size="1,1,0" yaw="5">cube</3d_box>',
        '<3d_box center="1,2,3" size="1,1,1" yaw="nan">cube</3d_box>',
    ],
)
def test_a_box_that_is_not_wholly_readable_is_no_prediction_and_malformed(box: str) -> None:
    parsed = parse_response(ReasoningPath.DTR, dtr(f"Find 2 relevant objects:\n{box}\n{ONE_BOX}"))
    assert parsed.boxes == (Box3D((1.0, 2.0, 3.0), "cube"),)
    assert not parsed.well_formed


def test_a_box_within_a_box_is_read_as_the_inner_one() -> None:
    nested = f'Find 1 relevant objects:\n<3d_box center="9,9,9">{ONE_BOX}</3d_box>'
    parsed = parse_response(ReasoningPath.DTR, dtr(nested))
    assert parsed.boxes == (Box3D((1.0, 2.0, 3.0), "cube"),)
    assert not parsed.well_formed


def test_boxes_outside_the_detect_section_are_no_predictions() -> None:
    text = f"<detect>Find 0 relevant objects:</detect><think>{ONE_BOX}</think><answer>A</answer>"
    assert parse_response(ReasoningPath.DTR, text).boxes == ()


@pytest.mark.parametrize(("num_boxes", "num_read"), [(MAX_BOXES, 64), (MAX_BOXES + 1, 0)])
def test_too_many_boxes_are_none(num_boxes: int, num_read: int) -> None:
    parsed = parse_response(
        ReasoningPath.DTR, dtr("\n".join([f"Find {num_boxes} relevant objects:", *[ONE_BOX] * num_boxes]))
    )
    assert len(parsed.boxes) == num_read
    assert parsed.well_formed == (num_read > 0)


# --- numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("-0", 0.0), ("+1.5", 1.5), (" 2. ", 2.0), (".5", 0.5), ("-1.2e-1", -0.12), ("1e-999", 0.0)],
)
def test_a_number_is_read(text: str, value: float) -> None:
    assert read_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-",
        "nan",
        "inf",
        "-Infinity",
        "1e999",
        "1e",
        "1,5",
        "1_0",
        "0x1",
        "１",
        "٣",
        "²",
        "−1",
        "--1",
        "1 2",
        "½",
    ],
)
def test_what_is_no_number_is_not_read(text: str) -> None:
    assert read_number(text) is None


# --- properties

finite = st.floats(min_value=-1e6, max_value=1e6)
vectors = st.tuples(finite, finite, finite)
names = st.text(st.characters(blacklist_characters="<>\n", codec="utf-8"), max_size=20)
prose = st.text(max_size=40).filter(lambda text: not any(tag in text for tag in TAGS))
fragments = st.lists(
    st.sampled_from(
        [*TAGS, TWO_BOXES, ONE_BOX, '<3d_box center="', "Find 2 relevant objects:", "\n", "A", "1,2,3", '">']
    )
).map("".join)


@given(
    boxes=st.lists(st.tuples(vectors, names), max_size=8),
    frame=st.none() | st.integers(0, 99),
    think=prose,
    answer=prose,
)
def test_what_is_written_is_read_back(
    boxes: list[tuple[tuple[float, float, float], str]], frame: int | None, think: str, answer: str
) -> None:
    block = format_detect_block([center for center, _ in boxes], [name for _, name in boxes], frame)
    parsed = parse_response(
        ReasoningPath.DTR, format_response(ReasoningPath.DTR, think=think, answer=answer, detect=block)
    )
    assert parsed.well_formed
    assert (parsed.detect, parsed.think, parsed.answer) == (block, think.strip(), answer.strip())
    assert parsed.reference_frame == frame
    for (center, name), box in zip(boxes, parsed.boxes, strict=True):
        assert box.name == name.strip()
        assert box.center_m == pytest.approx(center, abs=0.005001)


@given(path=st.sampled_from(ReasoningPath), text=st.text() | fragments)
def test_reading_never_raises(path: ReasoningPath, text: str) -> None:
    parse_response(path, text)
