"""VSI-Bench in its layout: questions, frames, and its eight tasks."""

import struct
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from evaluation.benchmarks.frames import evenly_spaced
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.vsi import Vsi
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, NumberAnswer
from tests.evaluation.benchmarks.layouts import Row, broken, load, png, write_parquet

TEST = Path("test-00000-of-00001.parquet")
COUNT: Row = {
    "id": 0,
    "dataset": "scannet",
    "scene_name": "scene0000_00",
    "question_type": "object_counting",
    "question": "How many chairs are in this room?",
    "ground_truth": "4",
    "options": None,
}
CLOSEST: Row = {
    **COUNT,
    "id": 1,
    "question_type": "object_rel_distance",
    "question": "Which of these is the closest to the door?",
    "ground_truth": "B",
    "options": ["A. chair", "B. table", "C. stove", "D. sofa"],
}


def write(folder: Path, *rows: Row, num_frames: int = 12) -> None:
    write_parquet(folder / TEST, rows)
    frames = folder / "frames" / "scannet" / "scene0000_00"
    frames.mkdir(parents=True, exist_ok=True)
    for number in range(num_frames):
        (frames / f"frame_{number}.png").write_bytes(png(number))


def write_video(file: Path, num_frames: int, codec: str = "mp4v") -> None:
    """Frame n is red, of level 10·n."""
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*codec), 10, (64, 48))
    for number in range(num_frames):
        pixels_bgr = np.zeros((48, 64, 3), np.uint8)
        pixels_bgr[..., 2] = 10 * number
        writer.write(pixels_bgr)
    writer.release()


def levels(folder: Path, question: Question) -> list[int]:
    store = ImageStore(folder / "store")
    return [round(float(np.asarray(store.open(image))[..., 0].mean())) for image in question.sample.images]


def test_a_row_becomes_a_number_or_a_choice_about_frames(tmp_path: Path) -> None:
    write(tmp_path, COUNT, CLOSEST)
    (count, closest), rejects = load(Vsi(num_frames=4), tmp_path)
    assert rejects == []
    assert count.sample.answer == NumberAnswer(value=4.0, unit="count")
    assert closest.sample.answer == ChoiceAnswer(letter="B", num_options=4)
    assert closest.sample.images == count.sample.images
    assert "\nB. table\n" in closest.sample.question
    assert count.sample.question.startswith("These are frames of a video.\nHow many chairs")


@pytest.mark.parametrize(
    ("num_frames", "shades"), [(4, [0, 3, 7, 11]), (1, [0]), (12, list(range(12))), (99, list(range(12)))]
)
def test_images_are_taken_evenly_in_the_order_of_their_numbers(
    tmp_path: Path, num_frames: int, shades: list[int]
) -> None:
    write(tmp_path, COUNT)
    (question,), _ = load(Vsi(num_frames=num_frames), tmp_path)
    store = ImageStore(tmp_path / "store")
    assert [np.asarray(store.open(image))[0, 0, 0] for image in question.sample.images] == shades


def test_a_video_is_decoded_where_there_are_no_images(tmp_path: Path) -> None:
    write_parquet(tmp_path / TEST, [COUNT])
    write_video(tmp_path / "scannet" / "scene0000_00.mp4", num_frames=20)
    (question,), rejects = load(Vsi(num_frames=3), tmp_path)
    assert rejects == []
    assert levels(tmp_path, question) == pytest.approx([0, 90, 190], abs=8)
    with Image.open(ImageStore(tmp_path / "store").path(question.sample.images[0])) as image:
        assert (image.format, image.size) == ("JPEG", (64, 48))


def test_frames_are_counted_where_a_video_has_fewer_than_it_says(tmp_path: Path) -> None:
    video = tmp_path / "scannet" / "scene0000_00.mp4"
    write_video(video.with_suffix(".avi"), num_frames=20, codec="MJPG")
    data = bytearray(video.with_suffix(".avi").read_bytes())
    for chunk, place in ((b"strh", 32), (b"avih", 16)):
        struct.pack_into("<I", data, data.index(chunk) + 8 + place, 30)
    video.write_bytes(data)
    write_parquet(tmp_path / TEST, [COUNT])
    (question,), rejects = load(Vsi(num_frames=3), tmp_path)
    assert rejects == []
    assert levels(tmp_path, question) == pytest.approx([0, 90, 190], abs=8)


def test_a_scene_without_frames_and_a_broken_video_are_named_rejects(tmp_path: Path) -> None:
    write_parquet(tmp_path / TEST, [COUNT, {**COUNT, "id": 1, "scene_name": "broken"}])
    (tmp_path / "scannet").mkdir()
    (tmp_path / "scannet" / "broken.mp4").write_bytes(b"no video" * 50)
    questions, rejects = load(Vsi(), tmp_path)
    assert questions == []
    assert [(reject.line, reject.field) for reject in rejects] == [(1, "scene_name"), (2, "scene_name")]
    assert "there is no video" in rejects[0].advice


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("scene_name", "../secret"),
        ("dataset", ".."),
        ("dataset", "/etc"),
        ("scene_name", "x" * 200),
        ("scene_name", ""),
        ("question_type", "cooking"),
        ("ground_truth", "four"),
    ],
)
def test_a_row_that_contradicts_itself_is_a_named_reject(tmp_path: Path, cell: str, value: str) -> None:
    write(tmp_path, {**COUNT, cell: value})
    questions, (reject,) = load(Vsi(), tmp_path)
    assert questions == []
    assert reject.field == cell


@pytest.mark.parametrize(
    ("cell", "value", "field"),
    [("ground_truth", "E", "answer"), ("options", None, "options"), ("options", ["A. x", "B. x"], "options")],
)
def test_a_choice_needs_options_and_the_letter_of_one(tmp_path: Path, cell: str, value: object, field: str) -> None:
    write(tmp_path, {**CLOSEST, cell: value})
    _, (reject,) = load(Vsi(), tmp_path)
    assert reject.field == field


@pytest.mark.parametrize(
    ("kind", "true", "answer", "score"),
    [
        ("object_counting", "4", "4", 1.0),
        ("object_counting", "4", "5", 0.6),
        ("object_counting", "4", "There are 4 chairs", 1.0),
        ("object_abs_distance", "2.0", "210 cm", 1.0),
        ("object_size_estimation", "120", "120", 1.0),
        ("object_size_estimation", "120", "1.2 m", 1.0),
        ("room_size_estimation", "25.2", "25.2 square meters", 1.0),
        ("room_size_estimation", "25.2", "25.2 m^2", 1.0),
        ("room_size_estimation", "25.2", "large", 0.0),
        ("room_size_estimation", "25.2", None, 0.0),
    ],
)
def test_a_number_earns_its_mra(tmp_path: Path, kind: str, true: str, answer: str | None, score: float) -> None:
    write(tmp_path, {**COUNT, "question_type": kind, "ground_truth": true})
    (question,), _ = load(Vsi(), tmp_path)
    assert Vsi().score(question, answer).score == pytest.approx(score)


def test_three_tiers_of_direction_are_one_task_of_the_mean(tmp_path: Path) -> None:
    tiers = [
        {**CLOSEST, "id": number, "question_type": f"object_rel_direction_{tier}"}
        for number, tier in enumerate(["easy", "easy", "easy", "medium", "hard"], start=2)
    ]
    write(tmp_path, COUNT, CLOSEST, *tiers)
    questions, _ = load(Vsi(), tmp_path)
    scores = [0.6, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    figures = Vsi().summarise([ScoredAnswer(q, None, score) for q, score in zip(questions, scores, strict=True)])
    direction = (2 / 3 + 1.0 + 0.0) / 3
    assert figures == pytest.approx(
        {
            "overall": (0.6 + 0.0 + direction) / 3,
            "over_questions": 3.6 / 7,
            "task/object_counting": 0.6,
            "task/object_rel_distance": 0.0,
            "task/object_rel_direction": direction,
            "tier/easy": 2 / 3,
            "tier/medium": 1.0,
            "tier/hard": 0.0,
            "source/scannet": 3.6 / 7,
        }
    )
    assert Vsi().summarise([]) == {}


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    write(tmp_path, COUNT, CLOSEST)
    from_parquet = load(Vsi(), tmp_path)
    (tmp_path / "test.jsonl").write_bytes(b"\n".join(map(orjson.dumps, [COUNT, CLOSEST])))
    (tmp_path / TEST).unlink()
    assert load(Vsi(), tmp_path) == from_parquet


@settings(max_examples=50, deadline=None)
@given(num_there=st.integers(0, 1000), num_wanted=st.integers(1, 100))
def test_places_rise_from_the_first_to_the_last(num_there: int, num_wanted: int) -> None:
    places = evenly_spaced(num_there, num_wanted)
    assert len(places) == min(num_there, num_wanted)
    assert places == sorted(set(places))
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, num_there - 1)
        gaps = {after - before for before, after in pairwise(places)}
        assert max(gaps) - min(gaps) <= 1


@settings(max_examples=50, deadline=None)
@given(row=broken(CLOSEST))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        write(folder, row, num_frames=1)
    except pa.ArrowException:
        assume(False)
    questions, rejects = load(Vsi(), folder)
    assert len(questions) + len(rejects) == 1
