"""Yes or no, and which region."""

import time

import pytest

from evaluation.benchmarks.verdicts import read_region, read_yes_or_no

YES = (
    *("Yes", "**Yes**", "yes.", "True", "Answer: Yes", "**Answer:** Yes", "Final answer: **Yes**", r"\boxed{Yes}"),
    *("Based on the image, yes, it is wider.", "I would say yes.", "Yes, there is no gap.", "Actually, yes, it is."),
    *(
        "Correct, region 1 is not as tall as region 2.",
        "That's correct.",
        "It is.",
        "是",
        "是的，它更宽。",
        "对",
        "答案：是",
        "正确",
    ),
    "* **Yes**\n* **No**\n\n**Answer:** Yes",
)
NO = (
    *("No", "no.", "False.", "The answer is no.", "**Answer:** No", r"\text{No}", "Based on the image, no, it is not."),
    *("I'd say no", "It is not wider.", "It isn't.", "Not really.", "Region 1 is not wider than region 2.", "Nope"),
    *("Actually, region 1 is below region 2.", "不是", "否", "不，区域1更窄。", "不对", "没有", "答案是否", "并不是"),
    *("The answer to this question is no.", "It is no.", "That is incorrect.", "**No**, region 1 is thinner"),
    "* **Yes**\n* **No**\n\n**Answer:** No",
)
NEITHER = (
    *("Yes or no", "Yes/No", "yes and no", "* Yes\n* No", "Yes\nNo", "", "wide", "know", "Yesterday", "Nothing"),
    *("Region 1 is wider, though not by much.", "Region 1 is wider, not narrower.", "I cannot tell", "I can't see it"),
)
SECOND = (
    *("region 2", "2", "**2**", "(2).", "Region [2] is more to the left.", "Answer: region 2. Region 1 is smaller."),
    *("**Answer:** 2", "Region 2 is wider than region 1.", "Compared to region 1, region 2 is wider."),
    *("It is region 2, not region 1.", "Between region 1 and region 2, region 2 is taller.", "区域2", "区域2比区域1宽"),
    *("Region #2", "region_2", "<region2>", "Region 2 (the chair)", r"\boxed{\text{region 2}}"),
)
NO_REGION = (
    *("Both regions 1 and 2 are alike.", "Regions [0] and [1]", "region 1 or 2", "region 1 or region 2", "the one"),
    *("regions 1, 2 and 3", "Region 1 is not wider than region 2.", "regional 12 things", "2 things", ""),
)


@pytest.mark.parametrize("answer", YES)
def test_a_yes_is_read_however_it_is_said(answer: str) -> None:
    assert read_yes_or_no(answer) == "yes"


@pytest.mark.parametrize("answer", NO)
def test_a_no_is_read_however_it_is_said(answer: str) -> None:
    assert read_yes_or_no(answer) == "no"


@pytest.mark.parametrize("answer", NEITHER)
def test_what_is_neither_or_both_is_not_read(answer: str) -> None:
    assert read_yes_or_no(answer) is None


@pytest.mark.parametrize("answer", SECOND)
def test_the_region_that_is_meant_is_read(answer: str) -> None:
    assert read_region(answer) == "region 2"


@pytest.mark.parametrize("answer", NO_REGION)
def test_several_regions_or_none_are_not_read(answer: str) -> None:
    assert read_region(answer) is None


@pytest.mark.parametrize("piece", ["yes or ", "no ", "region 1 and ", "region 1,", "answer is ", "1 ", "not "])
def test_a_long_answer_is_read_in_time(piece: str) -> None:
    start = time.perf_counter()
    read_yes_or_no(piece * 4000)
    read_region(piece * 4000)
    assert time.perf_counter() - start < 2.0
