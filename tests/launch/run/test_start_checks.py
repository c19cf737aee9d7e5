"""What a run cannot use is told before anything starts: by sample, with the setting that would change it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from actors.phases.parts import samples_of
from actors.run.run_folder import RunFolder
from actors.workers.learner_rank import LearnerRank
from launch.run.prepare import prepare_data, prepare_folder
from launch.run.start_checks import check_questions, check_samples
from launch.settings.config import ConfigError, RunConfig, load_config
from spatial.dataset import BadDataError
from spatial.images import ImageStore
from spatial.sample import ReasoningPath
from tests.samples import load_samples
from vlm.prompt import PromptEncoder

Row = dict[str, Any]
MODEL = Path(__file__).parents[3] / "assets" / "tiny-base"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    scenes = ["data.num_train_scenes=24", "data.num_validation_scenes=1", "data.num_test_scenes=1"]
    config = load_config("demo", [f"run={tmp_path_factory.mktemp('runs') / 'built'}", *scenes])
    folder = RunFolder(Path(config.run))
    prepare_folder(folder)
    prepare_data(config, folder, num_workers=1, on_progress=lambda done, total: None)
    return folder


@pytest.fixture
def run(built: RunFolder, tmp_path: Path) -> Callable[..., tuple[RunConfig, RunFolder]]:
    """A run on a copy of the data whose training rows were changed."""

    def make(change: Callable[[list[Row]], object], *overrides: str) -> tuple[RunConfig, RunFolder]:
        data = tmp_path / "data"
        data.mkdir()
        (data / "images").symlink_to(built.images.resolve())
        for split in ("validation", "test"):
            (data / f"{split}.jsonl").write_bytes((built.data / f"{split}.jsonl").read_bytes())
        rows = [json.loads(line) for line in (built.data / "train.jsonl").read_text().splitlines()]
        change(rows)
        (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = load_config(
            "demo",
            [f"run={tmp_path / 'run'}", f"data={{type: files, folder: {data}}}", "max_bad_share=0.1", *overrides],
        )
        folder = RunFolder(Path(config.run))
        prepare_folder(folder)
        prepare_data(config, folder, num_workers=1, on_progress=lambda done, total: None)
        return config, folder

    return make


Make = Callable[..., tuple[RunConfig, RunFolder]]


def two_images(rows: list[Row]) -> None:
    rows[3]["images"] *= 2


def test_good_samples_are_all_kept(run: Make) -> None:
    config, folder = run(lambda rows: None)
    check_samples(config, folder, MODEL, ["cold_start", "train"])
    assert folder.left_out.read_text() == ""


def test_a_sample_that_cannot_be_used_is_left_out_by_every_process_and_named(
    run: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def change(rows: list[Row]) -> None:
        two_images(rows)
        rows[5]["question"] = "far " * 400 + rows[5]["question"]

    config, folder = run(change)
    rows = [json.loads(line) for line in (folder.data / "train.jsonl").read_text().splitlines()]
    encoder = PromptEncoder(MODEL, ImageStore(folder.images), config.prompt)
    long = next(
        s
        for s in load_samples(folder.data / "train.jsonl", ImageStore(folder.images)).samples
        if "far far" in s.question
    )
    num, path = max((len(encoder.prompt_token_ids(long, path)), path.value) for path in long.paths)
    check_samples(config, folder, MODEL, ["cold_start"])
    many, far = (json.loads(line) for line in folder.left_out.read_text().splitlines())
    assert many == {
        "split": "train",
        "sample_id": rows[3]["sample_id"],
        "why": "more images than rollout.engine.max_images_per_prompt=1: 2 images",
    }
    assert far["sample_id"] == rows[5]["sample_id"]
    assert f"max_model_len=512, even with the smallest images: 64 image and {num - 64} other tokens" in far["why"]
    assert far["why"].endswith(f"through {path}")
    names = [sample.sample_id for sample in samples_of(config, folder, "train")]
    assert names == [row["sample_id"] for place, row in enumerate(rows) if place not in (3, 5)]
    rank = LearnerRank(SimpleNamespace(images=folder.images, config=config.learner), 0)  # type: ignore[arg-type]
    rank._encoder = encoder
    file, share = folder.data / "train.jsonl", config.max_bad_share
    num_all = rank.load_chains(file, share, frozenset())
    assert num_all - rank.load_chains(file, share, folder.left_out_of("train")) == sum(
        len(rows[place]["chains"]) for place in (3, 5)
    )
    (told,) = caplog.messages
    assert f"2 of {len(rows)} samples cannot be used" in told
    assert f"{rows[3]['sample_id']} (2 images): set rollout.engine.max_images_per_prompt=2" in told
    assert f"set rollout.engine.max_model_len={num + 128}, or ask for shorter responses" in told


def test_a_prompt_that_leaves_room_for_just_a_whole_response_is_kept(run: Make) -> None:
    config, folder = run(lambda rows: None)
    encoder = PromptEncoder(MODEL, ImageStore(folder.images), config.prompt)
    samples = [sample for split in ("train", "validation", "test") for sample in samples_of(config, folder, split)]
    longest = max(len(encoder.prompt_token_ids(sample, path)) for sample in samples for path in sample.paths)
    engine = config.rollout.engine
    for spare, fits in ((0, True), (-1, False)):
        length = longest + config.rollout.sampling.max_response_tokens + spare
        tight = config.replace(rollout=config.rollout.replace(engine=engine.replace(max_model_len=length)))
        if fits:
            check_samples(tight, folder, MODEL, [])
            assert folder.left_out.read_text() == ""
        else:
            with pytest.raises(BadDataError, match=f"set rollout.engine.max_model_len={length + 1}"):
                check_samples(tight.replace(max_bad_share=0.0), folder, MODEL, [])


def test_more_bad_samples_than_may_be_stop_the_run(run: Make) -> None:
    config, folder = run(two_images, "max_bad_share=0.001")
    with pytest.raises(BadDataError, match=r"train\.jsonl: 1 of \d+ samples cannot be used, and at most 0\.1% may be"):
        check_samples(config, folder, MODEL, [])


def test_samples_that_are_only_too_long_are_left_out_however_many_if_the_config_says_so(
    run: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def change(rows: list[Row]) -> None:
        for row in rows[::2]:
            row["question"] = "far " * 400 + row["question"]
        rows[1]["images"] *= 2

    config, folder = run(change, "data.too_long=leave_out")
    num = len((folder.data / "train.jsonl").read_text().splitlines())
    check_samples(config, folder, MODEL, ["train"])
    left_out = [json.loads(line) for line in folder.left_out.read_text().splitlines()]
    assert len(left_out) == num // 2 + 1
    (told,) = caplog.messages
    assert f"{num // 2 + 1} of {num} samples are left out (data.too_long=leave_out):" in told
    assert told.splitlines()[1].strip().startswith(f"{num // 2} × no room for a response")
    assert told.splitlines()[2].strip().startswith("1 × more images than")
    data = config.data.replace(too_long="bad")  # type: ignore[union-attr]
    with pytest.raises(BadDataError, match=r"or leave them out \(data.too_long=leave_out\)"):
        check_samples(config.replace(data=data), folder, MODEL, ["train"])
    engine = config.rollout.engine.replace(max_model_len=config.rollout.sampling.max_response_tokens + 9)
    nothing_fits = config.replace(rollout=config.rollout.replace(engine=engine))
    with pytest.raises(BadDataError, match=f"{num} of {num} samples are left out"):
        check_samples(nothing_fits, folder, MODEL, ["train"])


def test_an_image_of_another_size_or_cut_short_is_found(run: Make, tmp_path: Path) -> None:
    def change(rows: list[Row]) -> None:
        rows[0]["images"][0]["width_px"] += 1
        rows[0]["regions"] = rows[0]["objects"] = []
        # A picture of its own, so that no other sample shares it.
        image = ImageStore(tmp_path / "data" / "images").put(np.zeros((128, 128, 3), np.uint8))
        rows[-1]["images"] = [image.model_dump()]

    config, folder = run(change, "data.check_images=all")
    rows = [json.loads(line) for line in (folder.data / "train.jsonl").read_text().splitlines()]
    store = ImageStore(folder.images)
    cut = store.path(samples_of(config, folder, "train")[len(rows) - 1].images[0])
    data = cut.read_bytes()
    try:
        cut.write_bytes(data[:-30])
        check_samples(config, folder, MODEL, [])
    finally:
        cut.unlink()
    first, last = (json.loads(line) for line in folder.left_out.read_text().splitlines())
    assert (first["sample_id"], last["sample_id"]) == (rows[0]["sample_id"], rows[-1]["sample_id"])
    assert "has 128x128 px, but its sample says 129x128" in first["why"]
    assert "no readable PNG" in last["why"]


def test_a_store_of_which_much_is_broken_stops_the_run_though_few_images_are_looked_at(run: Make) -> None:
    def many_of_wrong_size(rows: list[Row]) -> None:
        rows[:] = [row | {"sample_id": f"{row['sample_id']}-{turn}"} for turn in range(4) for row in rows]
        for row in rows[::2]:
            row["images"] = [row["images"][0] | {"height_px": 129}]

    config, folder = run(many_of_wrong_size)
    num = len((folder.data / "train.jsonl").read_text().splitlines())
    tried = len(range(0, num, num // 100))
    assert tried < num / 2
    with pytest.raises(BadDataError, match=rf"train\.jsonl: \d+ of {tried} samples cannot .*\n.*check_images=all"):
        check_samples(config, folder, MODEL, [])


def test_a_blend_that_the_chains_cannot_feed_is_told_in_a_sentence(run: Make) -> None:
    def without_dtr(rows: list[Row]) -> None:
        for row in rows:
            row["chains"].pop("dtr", None)

    config, folder = run(without_dtr)
    with pytest.raises(ConfigError, match=r"train\.jsonl: learner\.sft\.blend asks for dtr, but no sample has a chain"):
        check_samples(config, folder, MODEL, ["cold_start"])
    check_samples(config, folder, MODEL, ["train"])


def test_a_path_that_no_sample_may_be_asked_through_is_told(run: Make) -> None:
    def only_lor(rows: list[Row]) -> None:
        rows[:] = [row for row in rows if "lor" in row["paths"]]
        for row in rows:
            row["paths"], row["chains"] = ["lor"], {"lor": row["chains"]["lor"]}

    config, folder = run(only_lor)
    with pytest.raises(ConfigError, match=r"no sample may be asked through dtr; set training.groups_per_step.dtr=0"):
        check_samples(config, folder, MODEL, ["train"])
    kinds = config.replace(training=config.training.replace(kinds={ReasoningPath.LOR: ("size",)}))
    with pytest.raises(
        ConfigError, match=r"no sample of training.kinds.lor=\['size'\] may be asked .*there is .*depth"
    ):
        check_samples(kinds, folder, MODEL, ["train"])


def test_a_missing_split_is_named(run: Make) -> None:
    config, folder = run(lambda rows: None)
    (folder.data / "test.jsonl").unlink()
    with pytest.raises(
        ConfigError, match=r"there is no .*test\.jsonl: a run needs train\.jsonl, validation\.jsonl and"
    ):
        check_samples(config, folder, MODEL, [])


def test_chains_that_no_response_can_be_as_long_as_are_told(run: Make, caplog: pytest.LogCaptureFixture) -> None:
    config, folder = run(lambda rows: None, "rollout.sampling.max_response_tokens=40")
    check_samples(config, folder, MODEL, ["cold_start"])
    encoder = PromptEncoder(MODEL, ImageStore(folder.images), config.prompt)
    chains = [text for sample in samples_of(config, folder, "train") for text in sample.chains.values()]
    lengths = [len(encoder.response_token_ids(text)) for text in chains]
    assert max(lengths) > 40
    (told,) = caplog.messages
    assert f"of the first {len(lengths)} chains {sum(length > 40 for length in lengths)} are longer" in told
    assert f"max_response_tokens=40 (the longest has {max(lengths)} tokens" in told


def test_questions_that_leave_no_room_for_an_answer_are_told(built: RunFolder) -> None:
    config = load_config("demo")
    samples = load_samples(built.data / "test.jsonl", ImageStore(built.images)).samples
    check_questions(config, samples, tuple(ReasoningPath), MODEL, built.images)
    engine = config.rollout.engine.replace(max_model_len=150)
    tight = config.replace(rollout=config.rollout.replace(engine=engine))
    with pytest.raises(BadDataError, match=r"no room for a response.*set rollout\.engine\.max_model_len=\d+"):
        check_questions(tight, samples, tuple(ReasoningPath), MODEL, built.images)
