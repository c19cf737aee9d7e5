"""A whole build: resumed after a kill, the same by seed, split by image, counted, and fit to train on."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpora.builder.build import IMAGES_A_PART, build_data, split_of
from corpora.builder.config import BuildConfig, NoRewrite, Omni3DSource, OpenAIRewrite, SceneSource, Splits
from corpora.builder.errors import BuildError
from rewards.config import RewardConfig
from rewards.reward import score_response
from spatial.images import ImageStore
from spatial.sample import ReasoningPath, SpatialSample
from spatial.scenes.config import SceneConfig
from tests.samples import load_samples

from .fake_server import Reply, chain_in, completion, rewrite_well, serve
from .worlds import raw_image, raw_object, write_omni3d

SPLITS = ("train", "validation", "test")
HALVES = Splits(train=0.5, validation=0.25, test=0.25)


def scenes(out: Path, num_images: int = 40, **changes: Any) -> BuildConfig:
    source = SceneSource(scenes=SceneConfig(image_size_px=48, min_visible_px=5), num_images=num_images)
    return BuildConfig(out=out, **{"source": source, "splits": HALVES, **changes})


def read_all(out: Path) -> dict[str, tuple[SpatialSample, ...]]:
    return {split: load_samples(out / f"{split}.jsonl", ImageStore(out / "images"), 0.0).samples for split in SPLITS}


def contents(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def test_a_build_gives_samples_with_full_marks_and_no_image_in_two_splits(tmp_path: Path) -> None:
    report = build_data(scenes(tmp_path))
    found = read_all(tmp_path)
    images = [{image.sha256 for sample in found[split] for image in sample.images} for split in SPLITS]
    assert all(images)
    assert len(set.union(*images)) == sum(map(len, images)) == 40
    ids = [sample.sample_id for samples in found.values() for sample in samples]
    assert len(set(ids)) == len(ids) == sum(report.questions.values()) > 200
    for sample in (sample for samples in found.values() for sample in samples):
        for path, chain in sample.chains.items():
            assert score_response(chain, path, sample, RewardConfig()).total == pytest.approx(1.0)


def test_the_report_counts_what_the_files_hold(tmp_path: Path) -> None:
    report = build_data(scenes(tmp_path))
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(report.model_dump_json())
    for split, samples in read_all(tmp_path).items():
        assert report.questions[split] == len(samples)
        assert report.images[split] == len({sample.images[0].sha256 for sample in samples})
        for kind, paths in report.chains[split].items():
            for path, number in paths.items():
                assert number == sum(sample.kind == kind and path in sample.chains for sample in samples)
        assert sum(sum(paths.values()) for paths in report.chains[split].values()) == sum(
            len(sample.chains) for sample in samples
        )
    assert report.tally.num_images == 40


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        build_data(scenes(tmp_path / name, seed=seed, num_images=20))
    assert contents(tmp_path / "one") == contents(tmp_path / "again")
    assert (tmp_path / "one/train.jsonl").read_bytes() != (tmp_path / "other/train.jsonl").read_bytes()


def test_an_image_stays_in_its_split_when_more_are_built() -> None:
    names = [f"{number:064x}" for number in range(2000)]
    splits = Splits(train=0.9, validation=0.06, test=0.04)
    found = [split_of(name, splits, seed=0) for name in names]
    assert found == [split_of(name, splits, seed=0) for name in names]
    assert abs(found.count("validation") / 2000 - 0.06) < 0.02
    assert abs(found.count("test") / 2000 - 0.04) < 0.02


_KILLED = """
import sys
from corpora.builder.build import build_data
from corpora.builder.config import BuildConfig
build_data(BuildConfig.model_validate_json(sys.argv[1]))
"""


def test_a_build_that_was_killed_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    go_on, seen, limit = threading.Event(), [0], [10**9]
    go_on.set()

    def answer(request: dict[str, Any]) -> Reply:
        seen[0] += 1
        if seen[0] == limit[0]:
            go_on.clear()
        go_on.wait(timeout=30)
        chain = chain_in(request)
        return rewrite_well(request) if len(chain) % 3 else completion("no")

    def config(name: str, base_url: str) -> BuildConfig:
        rewrite = OpenAIRewrite(base_url=base_url, model="fake", concurrency=4)
        return scenes(tmp_path / name, 3 * IMAGES_A_PART, questions_per_image=1, rewrite=rewrite)

    with serve(answer) as server:
        whole = build_data(config("whole", server.base_url))
        killed = config("killed", server.base_url)
        limit[0] = seen[0] + seen[0] // 2  # in the middle of the second of three parts
        process = subprocess.Popen([sys.executable, "-c", _KILLED, killed.model_dump_json()])
        _wait_for(lambda: not go_on.is_set())
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        go_on.set()
        assert [file.name for file in (killed.out / "parts").iterdir()] == ["000000.json"]
        assert build_data(killed) == whole
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    rewrites = whole.tally.rewrites
    assert all(counts["kept"] > 10 and counts["grammar"] > 5 for counts in rewrites.values())
    assert sum(sum(counts.values()) for counts in rewrites.values()) == sum(
        number for kinds in whole.chains.values() for paths in kinds.values() for number in paths.values()
    )


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_parts_of_another_build_are_not_used(tmp_path: Path) -> None:
    build_data(scenes(tmp_path, 20))
    before = contents(tmp_path)
    with pytest.raises(BuildError, match=r"was begun with another config .*use the same, or give another folder"):
        build_data(scenes(tmp_path, 20, seed=1))
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(BuildError, match="holds data that this build did not make"):
        build_data(scenes(tmp_path, 20))
    (tmp_path / "recipe.json").write_bytes(before["recipe.json"])
    assert contents(tmp_path) == before


def test_other_splits_are_put_together_from_the_same_parts(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no image came into test: build from more images, or change the split"):
        build_data(scenes(tmp_path, 6, splits=Splits(train=0.999, validation=0.0, test=0.001)))
    assert not list(tmp_path.glob("*.jsonl"))
    part = (tmp_path / "parts/000000.json").stat().st_mtime_ns
    report = build_data(scenes(tmp_path, 6, splits=Splits(train=1.0, validation=0.0, test=0.0)))
    assert (tmp_path / "parts/000000.json").stat().st_mtime_ns == part
    assert report.images == {"train": 6}
    assert [file.name for file in tmp_path.glob("*.jsonl")] == ["train.jsonl"]


def omni3d(folder: Path, file: Path, **changes: Any) -> BuildConfig:
    source = Omni3DSource(file=file, images=folder / "pictures", domain="rooms")
    return BuildConfig(out=folder / "out", source=source, splits=HALVES, **changes)


def test_real_annotations_become_questions_and_bad_ones_are_counted(tmp_path: Path) -> None:
    images = [raw_image(number) for number in range(24)] + [raw_image(24, file_path="gone.png"), raw_image(25)]
    objects = [raw_object(n, slot, slot, category_name=name) for n in range(25) for slot, name in enumerate("abac")]
    bad = [raw_object(0, 9, valid3D=False), raw_object(99), raw_object(1, 9, bbox2D_trunc=[0, 0, 500, 20])]
    report = build_data(omni3d(tmp_path, write_omni3d(tmp_path, images, [*objects, *bad])))
    assert report.tally.num_images == 26
    assert report.tally.num_images_refused == 1
    assert report.tally.num_images_without_question == 1
    assert report.tally.rejects.counts == {
        "annotations.image_id": 1,
        "annotations.valid3D": 1,
        "annotations.bbox2D": 1,
        "images.file_path": 1,
    }
    assert "set.json:25: images.file_path: 'gone.png'" in report.tally.rejects.examples["images.file_path"]
    samples = [sample for found in read_all(tmp_path / "out").values() for sample in found]
    assert len(samples) == sum(report.questions.values()) > 100
    assert {sample.domain for sample in samples} == {"rooms"}
    assert all(sample.camera is not None and sample.camera.fy_px == 61.0 for sample in samples)
    regions = [region for sample in samples for region in sample.regions]
    assert {region.name for region in regions} == set("abc")
    assert all(region.center_m is not None for region in regions)


def test_a_source_without_a_single_question_says_what_was_left_out(tmp_path: Path) -> None:
    file = write_omni3d(tmp_path, [raw_image(1)], [raw_object(1, valid3D=False)])
    with pytest.raises(
        BuildError, match=r"none of 1 images gave a question; first rejects:\n.*:1: annotations.valid3D: False"
    ):
        build_data(omni3d(tmp_path, file))


def test_a_changed_source_is_another_source(tmp_path: Path) -> None:
    images = [raw_image(number) for number in range(20)]
    objects = [raw_object(n, slot, slot) for n in range(20) for slot in range(4)]
    build_data(omni3d(tmp_path, write_omni3d(tmp_path, images, objects)))
    with pytest.raises(BuildError, match="another source"):
        build_data(omni3d(tmp_path, write_omni3d(tmp_path, images, objects[1:])))


def test_one_path_alone_can_be_built(tmp_path: Path) -> None:
    build_data(scenes(tmp_path, 12, paths=(ReasoningPath.DTR,), splits=Splits(train=1.0, validation=0.0, test=0.0)))
    samples = load_samples(tmp_path / "train.jsonl", ImageStore(tmp_path / "images")).samples
    assert {sample.paths for sample in samples} == {(ReasoningPath.DTR,)}
    assert "count" not in {sample.kind for sample in samples}
    assert isinstance(scenes(tmp_path).rewrite, NoRewrite)
