"""What is prepared before anything starts, and what bad data gets."""

import shutil
from pathlib import Path

import pytest

from actors.run_folder import RunFolder
from launch.config import ConfigError, RunConfig, load_config
from launch.prepare import check_reward, prepare_base_model, prepare_data, prepare_folder
from spatial.dataset import BadDataError
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from vlm.prompt import PromptEncoder, question_text

SCENES = ["data.num_train_scenes=30", "data.num_validation_scenes=1", "data.num_test_scenes=2"]


def prepare(config: RunConfig) -> RunFolder:
    folder = prepare_folder(config)
    prepare_data(config, folder, num_workers=1, on_progress=lambda done, total: None)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return prepare(load_config("demo", [f"run={tmp_path_factory.mktemp('runs') / 'built'}", *SCENES]))


def files_config(tmp_path: Path, folder: Path) -> RunConfig:
    return load_config("demo", [f"run={tmp_path / 'run'}", f"data={{type: files, folder: {folder}}}"])


def test_the_resolved_config_is_written_and_loads_again(built: RunFolder) -> None:
    assert load_config(built.config).run == str(built.root)


def test_scenes_are_built_once(built: RunFolder) -> None:
    before = (built.data / "train.jsonl").stat().st_mtime_ns
    prepare(load_config(built.config))
    assert (built.data / "train.jsonl").stat().st_mtime_ns == before
    prepare(load_config(built.config, ["data.num_test_scenes=3"]))
    assert (built.data / "train.jsonl").stat().st_mtime_ns > before


def test_a_folder_of_files_is_linked_with_its_images(built: RunFolder, tmp_path: Path) -> None:
    folder = prepare(files_config(tmp_path, built.data))
    assert (folder.data / "test.jsonl").read_text() == (built.data / "test.jsonl").read_text()
    assert folder.images.resolve() == (built.data / "images").resolve()


def test_a_broken_line_above_the_bound_stops_before_anything_starts(built: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(built.data, copy)
    lines = (copy / "test.jsonl").read_text().splitlines()
    (copy / "test.jsonl").write_text("\n".join(['{"sample_id": NaN', *lines]))
    with pytest.raises(BadDataError, match=r"test\.jsonl:1"):
        prepare(files_config(tmp_path, copy))


def test_a_folder_without_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no train\.jsonl"):
        prepare(files_config(tmp_path, tmp_path))


def test_a_tiny_base_model_knows_every_word_of_its_data(built: RunFolder) -> None:
    config = load_config(built.config)
    encoder = PromptEncoder(prepare_base_model(config, built), ImageStore(built.images), config.prompt)
    unknown = encoder.tokenizer.unk_token_id
    for line in (built.data / "test.jsonl").read_text().splitlines():
        sample = SpatialSample.model_validate_json(line)
        for path in sample.paths:
            assert unknown not in encoder.tokenizer(question_text(sample, path, config.prompt))["input_ids"]
            assert unknown not in encoder.response_token_ids(sample.chains[path])


def test_a_reward_that_cannot_be_loaded_stops_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rewards_beside.py").write_text("def half(text, path, sample): ...")
    check_reward(load_config("demo", ["rewards.custom=rewards_beside:half"]))
    with pytest.raises(ConfigError, match=r"custom='rewards_beside:whole'.*no plain function 'whole'"):
        check_reward(load_config("demo", ["rewards.custom=rewards_beside:whole"]))
