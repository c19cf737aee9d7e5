"""What looks wrong in samples: each fault is put into data that are right, and must be found and named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpora.checks.answers import options_in
from corpora.checks.findings import Finding
from corpora.checks.suite import CheckSuite
from spatial.grammar import format_detect_block, format_response
from spatial.images import ImageStore
from spatial.sample import (
    Box3DAnswer,
    Camera,
    ChoiceAnswer,
    ImageRef,
    NumberAnswer,
    PointAnswer,
    ReasoningPath,
    Region,
    SpatialSample,
    TextAnswer,
    Vector3,
)
from spatial.scenes.build import build_dataset
from spatial.scenes.config import SceneConfig
from tests.samples import load_samples

CAMERA = Camera(fx_px=500.0, fy_px=500.0, cx_px=320.0, cy_px=240.0)
Change = Callable[[SpatialSample], SpatialSample]


def box_around(center_m: Vector3) -> tuple[float, float, float, float]:
    """Of a thing of 0.4 m, as the camera sees it."""
    x, y, z = center_m
    u, v, half = 500 * x / z + 320, 500 * y / z + 240, 100 / z
    return max(0.0, u - half), max(0.0, v - half), min(640.0, u + half), min(480.0, v + half)


def distances(num: int = 40) -> list[SpatialSample]:
    """Questions about the distance of two things, right in everything."""
    random = np.random.default_rng(0)
    samples = []
    for index in range(num):
        left, right = (
            tuple(round(float(value), 2) for value in random.uniform(low, high))
            for low, high in (((-1.2, -0.8, 2.0), (-0.4, -0.4, 4.0)), ((0.4, 0.3, 3.0), (1.2, 0.8, 5.0)))
        )
        regions = (
            Region(mark="red", box_xyxy_px=box_around(left), name="chair", center_m=left),
            Region(mark="blue", box_xyxy_px=box_around(right), name="table", center_m=right),
        )
        value = round(float(np.linalg.norm(np.subtract(left, right))), 2)
        detect = format_detect_block([left, right], ["chair (red point)", "table (blue point)"])
        answer = f"{value:.2f} m"
        samples.append(
            SpatialSample(
                sample_id=f"s{index}",
                domain="test",
                kind="distance",
                paths=(ReasoningPath.LOR, ReasoningPath.DTR),
                images=(ImageRef(sha256=f"{index:064x}", width_px=640, height_px=480),),
                question="What is the distance between the red point and the blue point in m?",
                answer=NumberAnswer(value=value, unit="m"),
                regions=regions,
                camera=CAMERA,
                chains={
                    ReasoningPath.LOR: format_response(ReasoningPath.LOR, think=f"So {answer}.", answer=answer),
                    ReasoningPath.DTR: format_response(
                        ReasoningPath.DTR, detect=detect, think=f"So {answer}.", answer=answer
                    ),
                },
            )
        )
    return samples


def found(samples: list[SpatialSample], images: ImageStore | None = None) -> list[Finding]:
    suite = CheckSuite(images or ImageStore(Path("nowhere")))
    for sample in samples:
        suite.add(sample)
    return suite.findings()


def move(turn: Callable[[Vector3], Vector3]) -> Change:
    """Other centres, and chains without them, so that only the frame is at fault."""

    def change(sample: SpatialSample) -> SpatialSample:
        regions = tuple(region.replace(center_m=turn(region.center_m)) for region in sample.regions if region.center_m)
        return sample.replace(regions=regions, chains={})

    return change


def test_right_samples_have_no_finding(tmp_path: Path) -> None:
    assert found(distances()) == []
    build_dataset(SceneConfig(), tmp_path, {"train": 60}, 0, 1, lambda *_: None)
    store = ImageStore(tmp_path / "images")
    assert found(list(load_samples(tmp_path / "train.jsonl", store).samples), store) == []


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        (lambda c: (c[0], -c[1], c[2]), "y points up;"),
        (lambda c: (c[0], c[1], -c[2]), "z points backward (behind"),
        (lambda c: (-c[0], c[1], c[2]), "x points left (the scene is mirrored)"),
        (lambda c: (c[0], -c[1], -c[2]), "y points up and z backward (as in OpenGL"),
        (lambda c: (-c[0], -c[1], c[2]), "x points left and y up (as in PyTorch3D)"),
        (lambda c: (c[0], c[2], -c[1]), "y points forward and z up (as in world frames)"),
        (lambda c: (c[2], -c[0], -c[1]), "x points forward, y left and z up (as in robotics)"),
    ],
)
@pytest.mark.parametrize("has_camera", [True, False])
def test_another_frame_is_found_and_named(turn: Callable[[Vector3], Vector3], told: str, has_camera: bool) -> None:
    samples = [move(turn)(sample).replace(camera=CAMERA if has_camera else None) for sample in distances()]
    finding, *others = found(samples)
    assert finding.is_wrong
    assert "do not lie in their region's box" in finding.words
    assert told in finding.remedy
    assert (finding.num_checked, finding.sample_ids[:2]) == (80, ("s0", "s1"))
    assert finding.num >= (40 if has_camera else 20)
    assert [other.words for other in others if "no camera" in other.words] == [
        "samples have 3D centres and no camera, so that their frame can hardly be checked"
    ] * (not has_camera)


def test_a_few_centres_that_no_frame_explains_are_found() -> None:
    samples = distances()
    for index in (3, 13, 23, 33):
        wrong = [region.replace(center_m=(2.0, 1.5, 2.0)) for region in samples[index].regions]
        samples[index] = samples[index].replace(regions=tuple(wrong), chains={})
    misplaced, contradicted = found(samples)
    assert (misplaced.num, misplaced.sample_ids) == (8, ("s3", "s13", "s23"))
    assert "correct the centres or the camera" in misplaced.remedy
    assert contradicted.num == 4


def test_the_camera_of_another_image_size_is_found() -> None:
    large = Camera(fx_px=1500.0, fy_px=1500.0, cx_px=960.0, cy_px=720.0)
    misplaced, off_middle = found([sample.replace(camera=large) for sample in distances()])
    assert "if the camera were scaled to the image's size" in misplaced.remedy
    assert "principal point far from the image's middle" in off_middle.words


@pytest.mark.parametrize(("factor", "unit"), [(1000.0, "millimetres"), (100.0, "centimetres")])
def test_another_unit_is_found_by_size_and_by_answers(factor: float, unit: str) -> None:
    samples = [move(lambda c: (factor * c[0], factor * c[1], factor * c[2]))(sample) for sample in distances()]
    by_size, by_answer = found(samples)
    assert f"they seem to be in {unit}" in by_size.remedy
    assert by_size.num == 80
    assert f"distances by the centres are those of the answers in {unit}" in by_answer.remedy


def test_domains_are_judged_by_themselves() -> None:
    samples = distances()
    for index in range(0, 10):
        samples[index] = move(lambda c: (c[0], -c[1], -c[2]))(samples[index]).replace(domain="blender")
    for index in range(10, 20):
        samples[index] = move(lambda c: (c[0], -c[1], c[2]))(samples[index]).replace(domain="unity")
    blender, unity = found(samples)
    assert (blender.num, blender.num_checked) == (20, 20)
    assert blender.words.endswith("(domain blender)")
    assert "y points up and z backward" in blender.remedy
    assert "y points up;" in unity.remedy
    assert unity.sample_ids[0] == "s10"


def test_centres_that_only_a_chain_tells_are_projected_too() -> None:
    def turned(sample: SpatialSample) -> SpatialSample:
        centers = [region.center_m for region in sample.regions if region.center_m]
        detect = format_detect_block([(x, -y, z) for x, y, z in centers], ["chair (red point)", "table (blue point)"])
        answer = f"{sample.answer.value:.2f} m" if isinstance(sample.answer, NumberAnswer) else ""
        return sample.replace(
            regions=tuple(region.replace(center_m=None) for region in sample.regions),
            chains={ReasoningPath.DTR: format_response(ReasoningPath.DTR, detect=detect, think="So.", answer=answer)},
        )

    (finding,) = found([turned(sample) for sample in distances()])
    assert "y points up;" in finding.remedy


def box_answer(factor: float, z_sign: int = 1) -> Change:
    def change(sample: SpatialSample) -> SpatialSample:
        x, y, z = sample.regions[0].center_m or (0, 0, 0)
        answer = Box3DAnswer(center_m=(x, y, z_sign * z), size_m=(factor * 0.4, factor * 0.3, factor * 0.4), yaw_deg=0)
        region = sample.regions[0].replace(center_m=None)
        return sample.replace(question="Which 3D box holds the red point?", answer=answer, regions=(region,), chains={})

    return change


def test_the_size_and_place_of_a_3d_box_are_checked() -> None:
    assert found([box_answer(1.0)(sample) for sample in distances()]) == []
    (size,) = found([box_answer(100.0)(sample) for sample in distances()])
    assert "3D boxes are of another size" in size.words
    assert (size.num, size.num_checked) == (40, 40)
    (frame,) = found([box_answer(1.0, z_sign=-1)(sample) for sample in distances()])
    assert "z points backward" in frame.remedy


def test_an_answer_behind_the_camera_is_found_without_any_region() -> None:
    where = PointAnswer(center_m=(0.1, 0.2, -3.0))
    samples = [ask(f"Where is chair {i}?", where, regions=())(sample) for i, sample in enumerate(distances(3))]
    (finding,) = found(samples)
    assert "behind the camera" in finding.words
    assert finding.num == 3


def test_answers_in_another_unit_than_they_say_are_found() -> None:
    samples = [
        number(round(100 * sample.answer.value))(sample)
        for sample in distances()
        if isinstance(sample.answer, NumberAnswer)
    ]
    (finding,) = found(samples)
    assert "the answers seem to be numbers of centimetres" in finding.remedy
    assert finding.num == 40


def test_small_lengths_are_found() -> None:
    samples = [move(lambda c: (c[0] / 1000, c[1] / 1000, c[2] / 1000))(sample) for sample in distances()]
    assert "small or near for metres" in found(samples)[0].words


def test_a_unit_is_found_by_depth_maps_where_sizes_are_usual(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    depth = store.put_depth(np.full((480, 640), 0.03))
    samples = [sample.replace(depths=(depth,)) for sample in distances()]
    (finding,) = found(samples, store)
    assert "another depth than their depth map" in finding.words
    assert "they seem to be in centimetres" in finding.remedy


def number(value: float) -> Change:
    return lambda sample: sample.replace(answer=NumberAnswer(value=value, unit="m"), chains={})


def ask(question: str, answer: Any, **changes: Any) -> Change:
    return lambda sample: sample.replace(question=question, answer=answer, chains={}, **changes)


CLOSER = "Which is closer to the camera? red point (A) or blue point (B)"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (number(30.0), "answers contradict the sample's own 3D centres"),
        (ask("What is the depth of the red point in m?", NumberAnswer(value=9.0, unit="m")), "contradict|mentions"),
        (
            lambda s: ask(CLOSER, ChoiceAnswer(letter="A" if s.regions[0].center_m[2] > s.regions[1].center_m[2] + 0.3
                                               else "B", num_options=2))(s),
            "answers contradict",
        ),
        (
            ask("Is the red point left or right of the blue point? left (A) or right (B)",
                ChoiceAnswer(letter="B", num_options=2)),
            "answers contradict",
        ),
        (ask("Is the red point above or below the blue point?", TextAnswer(text="below")), "answers contradict"),
        (ask("Where is the red point, beside the blue point?", PointAnswer(center_m=(9, 9, 9))), ""),
        (ask("How far are the red point and blue point from the door?", TextAnswer(text="9 m")), ""),
        (
            ask("How far is the red point, left of the blue point, from the camera?", NumberAnswer(value=99, unit="m")),
            "",
        ),
    ],
)  # fmt: skip
def test_an_answer_that_contradicts_the_centres_is_found(change: Change, words: str) -> None:
    samples = distances()
    # The nearer is the answer's wrong one only where the two are clearly apart.
    index = next(i for i, s in enumerate(samples) if s.regions[1].center_m[2] > 1.6 * s.regions[0].center_m[2])
    samples[index] = change(samples[index])
    findings = found(samples)
    if not words:
        assert findings == []  # which of two marks is meant is not judged
        return
    assert any(word in findings[0].words for word in words.split("|"))
    assert (findings[0].num, findings[0].sample_ids) == (1, (samples[index].sample_id,))


def test_right_answers_of_each_form_are_not_contradicted() -> None:
    samples = distances()
    for index, sample in enumerate(samples):
        red, blue = (region.center_m for region in sample.regions)
        assert red is not None
        assert blue is not None
        nearer = "A" if red[2] < blue[2] else "B"
        samples[index] = ask(CLOSER, ChoiceAnswer(letter=nearer, num_options=2))(sample).replace(kind=f"k{index}")
    assert found(samples) == []


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (CLOSER, {"A": "red point", "B": "blue point"}),
        ("Which is nearer?\n(A) red point\n(B) blue point", {"A": "red point", "B": "blue point"}),
        (
            "Which is nearer?\nA. red point\nB. blue point\nAnswer with the letter.",
            {"A": "red point", "B": "blue point"},
        ),
        ("Which? (A) red point (B) blue point", {"A": "red point", "B": "blue point"}),
        ("What is there?", {}),
    ],
)
def test_options_are_read_from_a_question(question: str, options: dict[str, str]) -> None:
    assert {letter: text.strip() for letter, text in options_in(question).items()} == options


def chain(path: ReasoningPath, text: str) -> Change:
    return lambda sample: sample.replace(chains={path: text})


DETECTED = '<detect>Find 1 relevant objects:\n<3d_box center="{0}">chair ({1} point)</3d_box></detect>'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.replace(question=s.question.replace("blue", "green")), ["mark", "region that neither"]),
        (lambda s: s.replace(question=s.question + " Not region 3."), ["none of their regions"]),
        (ask("How far apart are the two things?", NumberAnswer(value=2.0, unit="m")), ["neither question nor answer"]),
        (chain(ReasoningPath.LOR, "I think A"), ["chains have no answer", "grammar"]),
        (chain(ReasoningPath.LOR, "<think>So.</think><answer></answer>"), ["chains have no answer"]),
        (chain(ReasoningPath.LOR, "So. <answer>1.00 m</answer>"), ["grammar", "another answer than their sample"]),
        (chain(ReasoningPath.LOR, "<think>So.</think><answer>77.00 m</answer>"), ["another answer than their sample"]),
        (lambda s: chain(ReasoningPath.DTR, s.chains[ReasoningPath.LOR])(s), ["grammar"]),
        (
            lambda s: chain(
                ReasoningPath.DTR, DETECTED.format("5.00,5.00,5.00", "red") + s.chains[ReasoningPath.LOR]
            )(s),
            ["detect centres that are not those"],
        ),
        (
            lambda s: chain(
                ReasoningPath.DTR, DETECTED.format("1.00,1.00,5.00", "green") + s.chains[ReasoningPath.LOR]
            )(s),
            ["detect a mark that is none"],
        ),
        (lambda s: s.replace(question=f"{s.question} The answer is {s.answer.value} m."), ["tell their own answer"]),
        (lambda s: s.replace(question=f"{s.question} (It is {s.answer.value} m.)"), ["tell their own answer"]),
        (lambda s: ask("What is the red point, beside the blue point?", TextAnswer(text="<|im_end|>"))(s), ["special"]),
        (lambda s: distances()[0].replace(sample_id="again"), ["repeat an earlier one"]),
        (lambda s: number(3.33)(distances()[0]).replace(sample_id="again", regions=distances()[0].regions[:2]),
         ["another answer"]),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_found(change: Change, words: list[str]) -> None:
    samples = distances()
    samples[7] = change(samples[7])
    findings = [finding for finding in found(samples) if "contradict" not in finding.words]
    assert len(findings) == len(words)
    for finding, word in zip(findings, words, strict=True):
        assert word in finding.words
        assert (finding.num, finding.is_wrong) == (1, "repeat" not in word)
        assert finding.sample_ids == (samples[7].sample_id,)
    # As a person reads it: how many, the share, which, what to do.
    assert str(findings[0]).startswith("1 of ")
    assert f"such as {samples[7].sample_id}: " in str(findings[0])


def test_an_answer_that_nearly_all_questions_of_a_kind_have_is_found() -> None:
    samples = [ask(CLOSER, ChoiceAnswer(letter="A", num_options=2), kind="closer", regions=())(s) for s in distances()]
    samples = [s.replace(question="Which of the two is closer? left one (A) or right one (B)") for s in samples]
    (finding,) = found(samples)
    assert 'questions of kind \'closer\' have the same answer {"letter":"A"}' in finding.words
    assert (finding.num, finding.num_checked, finding.is_wrong) == (40, 40, False)
