"""Data sets: built the same for the same seed, never sharing a scene, and read with every bad line named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial.dataset import BadDataError, SampleFile, Subset, open_samples
from spatial.images import ImageStore
from spatial.scenes.build import build_dataset
from spatial.scenes.config import SceneConfig
from tests.samples import load_samples

SMALL = SceneConfig(questions_per_scene=3)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    build_dataset(SMALL, root, {"train": 20, "validation": 10, "test": 10}, seed=0)
    return root


def test_splits_share_no_scene(built: Path) -> None:
    store = ImageStore(built / "images")
    hashes = {
        split: {s.images[0].sha256 for s in load_samples(built / f"{split}.jsonl", store).samples}
        for split in ("train", "validation", "test")
    }
    assert [len(found) for found in hashes.values()] == [20, 10, 10]
    assert len(set.union(*hashes.values())) == 40


def test_the_same_seed_builds_the_same_bytes_with_any_number_of_workers(built: Path, tmp_path: Path) -> None:
    build_dataset(SMALL, tmp_path, {"train": 20}, seed=0, num_workers=2)
    assert (tmp_path / "train.jsonl").read_bytes() == (built / "train.jsonl").read_bytes()


def test_another_seed_builds_other_scenes(built: Path, tmp_path: Path) -> None:
    build_dataset(SMALL, tmp_path, {"train": 20}, seed=1)
    assert not {p.name for p in tmp_path.rglob("*.png")} & {p.name for p in built.rglob("*.png")}


def test_a_larger_split_begins_with_the_smaller(built: Path, tmp_path: Path) -> None:
    build_dataset(SMALL, tmp_path, {"train": 4}, seed=0)
    assert (built / "train.jsonl").read_text().startswith((tmp_path / "train.jsonl").read_text())


def test_one_family_can_be_built_alone_and_progress_is_reported(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    files = build_dataset(
        SMALL.replace(families=("room",)), tmp_path, {"test": 3}, seed=0, on_progress=lambda *done: told.append(done)
    )
    samples = load_samples(files["test"], ImageStore(tmp_path / "images")).samples
    assert {sample.domain for sample in samples} == {"room"}
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_stored_pictures_are_clean_and_of_the_configured_size(built: Path) -> None:
    store = ImageStore(built / "images")
    sample = load_samples(built / "train.jsonl", store).samples[0]
    picture = np.asarray(store.open(sample.images[0]))
    assert picture.shape == (128, 128, 3)
    # A mark would be of one full colour: no pixel is.
    assert not (np.sort(picture.reshape(-1, 3), axis=1) == [0, 0, 255]).all(axis=1).any()


def test_stored_depth_is_that_of_the_surface_before_an_objects_centre(tmp_path: Path) -> None:
    build_dataset(SMALL.replace(store_depth=True, max_objects=3), tmp_path, {"train": 12}, seed=0)
    store = ImageStore(tmp_path / "images")
    seen = 0
    for sample in load_samples(tmp_path / "train.jsonl", store).samples:
        (depth,) = sample.depths
        assert depth is not None
        depth_m = store.open_depth(depth)
        assert np.isfinite(depth_m).all()
        camera = sample.camera
        assert camera is not None
        for region in sample.regions:
            assert region.center_m is not None
            x, y, z = region.center_m
            column, row = int(x / z * camera.fx_px + camera.cx_px), int(y / z * camera.fy_px + camera.cy_px)
            assert depth_m[row, column] < z
            seen += 1
    assert seen > 10


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"num_scenes\['dev'\]=1: splits are train, validation, test"):
        build_dataset(SMALL, tmp_path, {"dev": 1}, seed=0)


def corrupt(built: Path, root: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of the test split in which the first sample with regions is changed, as the file's last line."""
    lines = (built / "test.jsonl").read_text().splitlines()
    sample = next(s for s in map(json.loads, lines) if s["regions"])
    sample["sample_id"] = "changed"
    change(sample)
    file = root / "bad.jsonl"
    file.write_text("\n".join([*lines, json.dumps(sample)]) + "\n")
    return file


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str, str]] = [
    (lambda s: s.update(depht=1), "depht", "Extra inputs are not permitted; remove it"),
    (lambda s: s.update(question=7), "question: 7", "valid string"),
    (lambda s: s.pop("domain"), "domain", "add it"),
    (lambda s: s.update(qestion=s.pop("question")), "question", "is 'qestion' meant? Write 'question'"),
    (lambda s: s.update(camra=None), "camra", "did you mean 'camera'?"),
    (lambda s: s["regions"][0].update(centre_m=None), "regions.0.centre_m", "did you mean 'center_m'?"),
    (lambda s: s["regions"][0].update(center_m=[0.0, 0.0, float("nan")]), "regions.0.center_m.2: nan", "finite"),
    (lambda s: s["regions"][0].update(center_m=[0.0, 0.0, float("inf")]), "regions.0.center_m.2: inf", "finite"),
    (lambda s: s["regions"][0].update(box_xyxy_px=[0.0, 0.0, 129.0, 9.0]), "sample", "outside its image of 128x128"),
    (lambda s: s.update(question="What is <|region|>?"), "question", "holds <|region|>"),
    (lambda s: s["chains"].update(dtr="<|image_pad|>"), "chains.dtr: '<|image_pad|>'", "holds <|image_pad|>"),
    (lambda s: s["chains"].update(dtr="red<|im_end|>"), "chains.dtr", "holds <|im_end|>"),
    (
        lambda s: s["chains"].update(dtr=" "),
        "chains.dtr: ' '",
        "is empty: a cold start on it would teach empty responses",
    ),
    (lambda s: s["images"][0].update(width_px=128 * 201), "images.0", "more than 200 times the other"),
    (
        lambda s: s.update(objects=[{"name": "cube", "box_xyxy_px": [0.0, 0.0, 129.0, 9.0]}]),
        "sample",
        "object 'cube': box_xyxy_px=[0.0, 0.0, 129.0, 9.0] lies outside",
    ),
    (lambda s: s["regions"][0].update(centers_by_image_m=[None, [0, 0, 1]]), "sample", "2 entries for 1 images"),
    (lambda s: s["regions"][0].update(rle_counts=[5, 7]), "sample", "add up to 12 pixels, but its image has 128x128"),
    (lambda s: s["regions"][0].update(rle_counts=[16384]), "regions.0", "no area"),
    (lambda s: s.update(depths=[{"sha256": "0" * 64, "width_px": 9, "height_px": 9}]), "sample", "depths.0: 9x9 px"),
    (
        lambda s: s.update(depths=[{"sha256": "0" * 64, "width_px": 128, "height_px": 128}]),
        "depths.0.sha256",
        "no such file",
    ),
    (lambda s: s["images"][0].update(sha256="0" * 64), "images.0.sha256: '000000000000…'", "no such file"),
    (lambda s: s.update(sample_id="room-test-1-q0-lor"), "sample_id: 'room-test-1-q0-lor'", "has this id already"),
    (
        lambda s: s.update(answer={"type": "number", "value": float("nan"), "unit": "m"}),
        "answer.number.value",
        "finite",
    ),
    (lambda s: s.update(answer={"type": "letter"}), "answer", "letter"),
]


@pytest.mark.parametrize(("change", "field", "says"), CHANGES)
def test_a_bad_line_is_named_and_left_out(
    built: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], field: str, says: str
) -> None:
    file = corrupt(built, tmp_path, change)
    loaded = load_samples(file, ImageStore(built / "images"), max_bad_share=0.1)
    num_lines = len(file.read_text().splitlines())
    assert len(loaded.samples) == num_lines - 1
    (reject,) = loaded.rejects
    assert str(reject).startswith(f"{file}:{num_lines}: {field}")
    assert says in str(reject)


@pytest.mark.parametrize("line", [b'{"sample_id": "a", ', b"\xff\xfe", b"[]", b"null"])
def test_a_line_that_is_no_object_is_one_bad_line(built: Path, tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(line + b"\n\n" + (built / "test.jsonl").read_bytes())
    loaded = load_samples(file, ImageStore(built / "images"), max_bad_share=0.1)
    assert [reject.line for reject in loaded.rejects] == [1]
    assert len(loaded.samples) == len((built / "test.jsonl").read_text().splitlines())


def test_too_many_bad_lines_stop_with_counts_and_reasons(built: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    good = (built / "test.jsonl").read_text().splitlines()[:4]
    file.write_text("\n".join([*good, *["{}"] * 7]))
    with pytest.raises(BadDataError, match=r"7 of 11 samples are bad, and at most 1\.0% may be") as caught:
        load_samples(file, ImageStore(built / "images"))
    assert f"{file}:5: sample_id" in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(BadDataError, match="holds no sample"):
        load_samples(tmp_path / "empty.jsonl", ImageStore(tmp_path))


def test_an_opened_file_gives_the_samples_of_a_loaded_one_in_any_order(built: Path) -> None:
    file, store = built / "train.jsonl", ImageStore(built / "images")
    loaded, opened = load_samples(file, store).samples, open_samples(file, store).samples
    assert isinstance(opened, SampleFile)
    assert tuple(opened) == loaded
    order = np.random.default_rng(0).permutation(len(loaded)).tolist()
    assert [opened[place] for place in order] == [loaded[place] for place in order]
    assert opened[-1] == loaded[-1]
    with pytest.raises(IndexError):
        opened[len(loaded)]


def test_a_subset_of_an_opened_file_is_the_list_of_those_kept(built: Path) -> None:
    opened = open_samples(built / "train.jsonl", ImageStore(built / "images")).samples
    kind = opened[0].kind
    once = Subset(opened, lambda sample: sample.kind == kind)
    assert list(once) == [sample for sample in opened if sample.kind == kind]
    assert list(Subset(once, lambda sample: sample is not once[0])) == list(once)[1:]


def test_the_third_of_three_equal_ids_names_the_first(built: Path, tmp_path: Path) -> None:
    lines = (built / "train.jsonl").read_bytes().splitlines(keepends=True)
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"".join([lines[0], lines[1], lines[0], lines[2], lines[0]]))
    found = open_samples(file, ImageStore(built / "images"), max_bad_share=0.5)
    assert [(reject.line, reject.advice[:6]) for reject in found.rejects] == [(3, "line 1"), (5, "line 1")]
    assert [sample.sample_id for sample in found.samples] == [
        json.loads(line)["sample_id"] for line in (lines[0], lines[1], lines[2])
    ]


def test_a_file_that_changes_after_the_check_is_reported(built: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes((built / "train.jsonl").read_bytes())
    opened = open_samples(file, ImageStore(built / "images")).samples
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BadDataError, match="changed since it was checked"):
        opened[0]
