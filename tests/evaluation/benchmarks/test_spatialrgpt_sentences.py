"""SpatialRGPT-Bench's truths are sentences of a few kinds: each kind is read for what it says."""

import pytest

from evaluation.benchmarks.measures import read_measure
from evaluation.benchmarks.question import Question
from evaluation.benchmarks.spatialrgpt import SpatialRgpt
from evaluation.benchmarks.verdicts import read_region, read_yes_or_no
from spatial.sample import ImageRef, NumberAnswer, ReasoningPath, SpatialSample, Unit

AGREEING = (
    "Yes.",
    "That is True.",
    "Yes, Region [0] is further from the viewer.",
    "Indeed, Region [0] is positioned on the left side of Region [1].",
    "Correct, you'll find Region [0] to the left of Region [1].",
    "Correct, Region [0] is not as tall as Region [1].",  # a "not" that agrees
)
DENYING = (
    "No, it is not.",
    "That is False.",
    "Incorrect, Region [0]'s width does not surpass Region [1]'s.",
    "In fact, Region [0] is to the right of Region [1].",  # these two say the contrary of what was asked
    "Actually, Region [0] might be smaller than Region [1].",
)
CHOOSING = (
    "Region [1] is more to the left.",
    "From the viewer's perspective, Region [1] appears more on the left side.",
    "Standing taller between the two is Region [1].",
)
MEASURING = (
    ("10.0 inches", 0.254),
    ("Region [0] and Region [1] are 11.4 meters apart.", 11.4),
    ("A distance of 1.0 meter exists between Region [0] and Region [1].", 1.0),
    ("The vertical distance of Region [0] from Region [1] is 77.56 centimeters.", 0.7756),
    ("It is approximately 3.5 feet.", 1.0668),
)
POINTING = (
    "Region [1] is roughly at 7 o'clock from Region [0].",
    "Region [0] will find Region [1] around the 7 o'clock direction.",
)


@pytest.mark.parametrize("sentence", AGREEING)
def test_a_sentence_that_agrees_is_a_yes(sentence: str) -> None:
    assert read_yes_or_no(sentence) == "yes"


@pytest.mark.parametrize("sentence", DENYING)
def test_a_sentence_that_denies_is_a_no(sentence: str) -> None:
    assert read_yes_or_no(sentence) == "no"


@pytest.mark.parametrize("sentence", CHOOSING)
def test_a_sentence_that_chooses_names_one_region(sentence: str) -> None:
    assert read_region(sentence) == "region 1"


@pytest.mark.parametrize(("sentence", "length_m"), MEASURING)
def test_the_length_of_a_sentence_is_right_whatever_its_unit(sentence: str, length_m: float) -> None:
    assert score_of_truth(sentence, length_m, "m") == (1.0, pytest.approx(0.0, abs=1e-9))


@pytest.mark.parametrize("sentence", POINTING)
def test_the_hour_of_a_sentence_is_right_though_it_numbers_regions(sentence: str) -> None:
    assert score_of_truth(sentence, 7.0, "oclock") == (1.0, 0.0)


def test_the_numbers_of_several_regions_are_no_lengths() -> None:
    assert score_of_truth("Regions 1 and 2 are 3 m apart.", 3.0, "m") == (1.0, pytest.approx(0.0))
    assert score_of_truth("Region 2 lies, seen from region 1, 3 meters away.", 3.0, "m") == (1.0, pytest.approx(0.0))


def test_the_numbers_of_regions_alone_measure_nothing() -> None:
    assert read_measure("Region [0] and Region [1] overlap.", "m") is None  # two numbers are no measure
    assert score_of_truth("Region 2 is far away", 2.0, "m") == (0.0, None)


def score_of_truth(answer: str, true: float, unit: Unit) -> tuple[float, float | None]:
    """What an answer is worth, and its error."""
    image = ImageRef(sha256="0" * 64, width_px=8, height_px=6)
    sample = SpatialSample(
        sample_id="a",
        domain="spatialrgpt",
        kind="width",
        paths=(ReasoningPath.LOR,),
        images=(image,),
        question="?",
        answer=NumberAnswer(value=true, unit=unit),
    )
    scored = SpatialRgpt().score(Question(sample, task="width"), answer)
    return scored.score, (scored.extra or {}).get("error")
