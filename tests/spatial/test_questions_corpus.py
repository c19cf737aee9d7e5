"""A built corpus, read again from its text alone: chains are true, follow from their numbers, and answers balance."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from spatial.grammar import parse_response
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, NumberAnswer, ReasoningPath, SpatialSample
from spatial.scenes.build import build_dataset
from spatial.scenes.config import LOR_KINDS, REGION_KINDS, SceneConfig
from tests.samples import load_samples
from tests.spatial.questions.oracle import LABELS, winner

NUMBER = re.compile(r"-?\d+\.\d+")
STEP = re.compile(r"(left|right|up|down|near|far) (\d+\.\d)")
# A tag, a word with the space before it, a digit, a sign, a space: what the tiny model reads and writes.
TOKEN = re.compile(r"</?(?:think|answer|detect)>|<3d_box center=\"|\">|</3d_box>| ?[A-Za-z]+|\d| ?[^\sA-Za-z\d]|\s")
SIGN = {"left": -1, "right": 1, "up": -1, "down": 1, "near": -1, "far": 1}
NUM_SCENES = 400


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[SpatialSample, ...]:
    return _build(tmp_path_factory.mktemp("corpus"), SceneConfig(), NUM_SCENES)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[SpatialSample, ...]:
    return _build(tmp_path_factory.mktemp("both"), SceneConfig(both_paths=True, dtr_share=0.75), 40)


def _build(root: Path, config: SceneConfig, num_scenes: int) -> tuple[SpatialSample, ...]:
    file = build_dataset(config, root, {"train": num_scenes}, seed=3)["train"]
    return load_samples(file, ImageStore(root / "images"), max_bad_share=0.0).samples


def chains(samples: tuple[SpatialSample, ...]) -> Iterator[tuple[SpatialSample, ReasoningPath, str, str, str]]:
    """(sample, path, chain, think, answer) of each chain."""
    for sample in samples:
        assert set(sample.chains) == set(sample.paths)
        for path, chain in sample.chains.items():
            parsed = parse_response(path, chain)
            assert parsed.well_formed, chain
            assert parsed.think
            assert parsed.answer
            yield sample, path, chain, parsed.think, parsed.answer


def conclusion(kind: str, think: str) -> str:
    """What follows from the numbers of a chain, worked out from its text alone."""
    facts, _ = think.split(", so ")
    steps = {word: SIGN[word] * float(size) for word, size in STEP.findall(facts)}
    if kind == "distance":
        return f"{math.hypot(*steps.values()):.1f} m"
    if kind == "direction":
        right = next(step for word, step in steps.items() if word in ("left", "right"))
        far = next(step for word, step in steps.items() if word in ("near", "far"))
        return f"{round(math.degrees(math.atan2(right, far)) / 30 - 1) % 12 + 1} o'clock"
    if kind == "count":
        return str(facts.count(",") + 1)
    label, rest = facts.split(" ", 1)
    names = [" ".join(part.split()[:2]) for part in rest.split(", ")]
    values = [float(number) for number in NUMBER.findall(rest)]
    if kind in LABELS:
        assert label == LABELS[kind]
        return f"{values[0]:.2f} m"
    match kind:
        case "left_right":
            return ("left", "right")[winner(kind, values)]
        case "above_below":
            return ("above", "below")[winner(kind, values)]
        case _:
            return names[winner(kind, values)]


def stated_answer(sample: SpatialSample, answer: str) -> str:
    """An answer in words: the text of the option that a letter stands for."""
    if not isinstance(sample.answer, ChoiceAnswer):
        return answer
    options = re.findall(r"(?:\? |, | or )([a-z ]+) \(([A-F])\)", sample.question)
    assert len(options) == sample.answer.num_options
    return next(words for words, letter in options if letter == answer)


def test_a_chain_states_the_true_centres(corpus: tuple[SpatialSample, ...]) -> None:
    for sample in corpus:
        if ReasoningPath.DTR not in sample.paths:
            assert not sample.regions
            continue
        boxes = parse_response(ReasoningPath.DTR, sample.chains[ReasoningPath.DTR]).boxes
        assert len(boxes) == len(sample.regions) > 0
        for box, region in zip(boxes, sample.regions, strict=True):
            assert region.center_m is not None
            assert box.center_m == pytest.approx(region.center_m, abs=0.00501)
            assert box.name == f"{region.name} ({region.mark} point)"
            assert f"{region.mark} point" in sample.question


def test_the_answer_follows_from_the_numbers_as_written(corpus: tuple[SpatialSample, ...]) -> None:
    for sample, _, chain, think, answer in chains(corpus):
        if sample.kind == "exists":
            asked = re.search(r"there an? (.*?)\?", sample.question)
            assert asked
            followed = "yes" if asked[1] in think.split(", so ")[0].split(", ") else "no"
        else:
            followed = conclusion(sample.kind, think)
        assert followed == stated_answer(sample, answer), chain


def test_a_chain_gives_the_true_answer(corpus: tuple[SpatialSample, ...]) -> None:
    for sample, _, _, _, answer in chains(corpus):
        if isinstance(sample.answer, ChoiceAnswer):
            assert answer == sample.answer.letter
        else:
            assert isinstance(sample.answer, NumberAnswer)
            assert float(answer.split()[0]) == sample.answer.value
            unit = {"m": " m", "oclock": " o'clock", "count": ""}[sample.answer.unit]
            assert answer.endswith(unit)


def test_a_detecting_chain_computes_with_its_own_centres(corpus: tuple[SpatialSample, ...]) -> None:
    axis = {"closer_to_camera": 2, "depth": 2, "left_right": 0, "above_below": 1}
    word_axis = {"left": 0, "right": 0, "up": 1, "down": 1, "near": 2, "far": 2}
    for sample, path, chain, think, _ in chains(corpus):
        if path is not ReasoningPath.DTR:
            continue
        centers = [box.center_m for box in parse_response(path, chain).boxes]
        if sample.kind in axis:
            copied = [float(number) for number in NUMBER.findall(think)][: len(centers)]
            assert copied == [center[axis[sample.kind]] for center in centers]
        for word, size in STEP.findall(think):
            step = centers[1][word_axis[word]] - centers[0][word_axis[word]]
            assert SIGN[word] * float(size) == pytest.approx(step, abs=0.05001)


def test_the_true_answer_is_that_of_the_regions(corpus: tuple[SpatialSample, ...]) -> None:
    for sample, path, _, _, answer in chains(corpus):
        if path is not ReasoningPath.DTR or sample.kind not in ("distance", "depth", "closer_to_camera", "left_right"):
            continue
        assert sample.true_centers_m is not None
        (first, *others), said = sample.true_centers_m, stated_answer(sample, answer)
        if sample.kind == "depth":
            assert said == f"{first[2]:.2f} m"
        elif sample.kind == "distance":
            assert said == f"{math.dist(first, others[0]):.1f} m"
        elif sample.kind == "left_right":
            assert said == ("left" if first[0] < others[0][0] else "right")
        else:
            nearest = min(sample.regions, key=lambda region: region.center_m[2] if region.center_m else math.inf)
            assert said == f"{nearest.mark} point"


def test_chains_are_short(corpus: tuple[SpatialSample, ...]) -> None:
    longest: Counter[ReasoningPath] = Counter()
    for _, path, chain, _, _ in chains(corpus):
        assert "".join(TOKEN.findall(chain)) == chain
        longest[path] = max(longest[path], len(TOKEN.findall(chain)))
    assert longest[ReasoningPath.LOR] <= 45
    assert longest[ReasoningPath.DTR] <= 92


def test_chains_need_few_words(corpus: tuple[SpatialSample, ...]) -> None:
    words = {word for _, _, chain, _, _ in chains(corpus) for word in re.findall(r"[A-Za-z]+", chain)}
    assert len(words) <= 60


def test_every_kind_is_asked_on_its_paths(corpus: tuple[SpatialSample, ...]) -> None:
    asked = Counter((sample.paths, sample.kind) for sample in corpus)
    assert set(asked) == {((ReasoningPath.LOR,), kind) for kind in LOR_KINDS} | {
        ((ReasoningPath.DTR,), kind) for kind in REGION_KINDS
    }
    assert min(asked.values()) > NUM_SCENES / 10
    dtr = sum(number for (paths, _), number in asked.items() if paths == (ReasoningPath.DTR,))
    assert dtr / len(corpus) == pytest.approx(0.5, abs=0.02)


def test_no_letter_wins(corpus: tuple[SpatialSample, ...]) -> None:
    letters: dict[int, Counter[str]] = {}
    for sample in corpus:
        if isinstance(sample.answer, ChoiceAnswer):
            letters.setdefault(sample.answer.num_options, Counter())[sample.answer.letter] += 1
    assert set(letters) == {2, 3, 4}
    for num_options, counts in letters.items():
        assert_even(counts, num_options)


@pytest.mark.parametrize("kind", ["left_right", "above_below", "exists", "count"])
def test_no_side_or_number_wins(corpus: tuple[SpatialSample, ...], kind: str) -> None:
    said = Counter(stated_answer(s, answer) for s, _, _, _, answer in chains(corpus) if s.kind == kind)
    assert_even(said, 3 if kind == "count" else 2)


def test_no_hour_and_no_mark_wins(corpus: tuple[SpatialSample, ...]) -> None:
    hours = Counter(s.answer.value for s in corpus if s.kind == "direction" and isinstance(s.answer, NumberAnswer))
    assert len(hours) == 12
    assert max(hours.values()) < 2 * hours.total() / 12
    assert_even(Counter(region.mark for sample in corpus for region in sample.regions), 4)


def test_marks_tell_nothing_of_colours(corpus: tuple[SpatialSample, ...]) -> None:
    assert not any(re.search(r"(cube|sphere|cone|cylinder)", s.question) for s in corpus if s.regions)


def test_one_question_through_both_paths_has_a_chain_for_each(both: tuple[SpatialSample, ...]) -> None:
    shared = [sample for sample in both if sample.regions]
    assert len(shared) > 100
    assert all(sample.paths == (ReasoningPath.LOR, ReasoningPath.DTR) for sample in shared)
    for sample, path, chain, think, answer in chains(tuple(shared)):
        assert conclusion(sample.kind, think) == stated_answer(sample, answer)
        assert all(f"{region.mark} point" in chain for region in sample.regions)
        assert ("<detect>" in chain) == (path is ReasoningPath.DTR)


def assert_even(counts: Counter[str], num_values: int) -> None:
    """No value is farther than four standard deviations from its share."""
    assert len(counts) == num_values, counts
    total, share = counts.total(), 1 / num_values
    allowed = 4 * math.sqrt(total * share * (1 - share))
    assert all(abs(count - total * share) <= allowed for count in counts.values()), counts
