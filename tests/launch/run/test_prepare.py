"""What is prepared before anything starts, and what bad data gets."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from actors.run.run_folder import RunFolder
from launch.run.driver import Driver
from launch.run.prepare import prepare_base_model, prepare_data, prepare_folder
from launch.run.record import record_start
from launch.settings.config import ConfigError, RunConfig, load_config
from launch.settings.reward import check_reward
from spatial.dataset import BadDataError
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from vlm.prompt import PromptEncoder, question_text

SCENES = ["data.num_train_scenes=30", "data.num_validation_scenes=1", "data.num_test_scenes=2"]


def prepare(config: RunConfig) -> RunFolder:
    folder = RunFolder(Path(config.run).resolve())
    prepare_folder(folder)
    prepare_data(config, folder, num_workers=1, on_progress=lambda done, total: None)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = load_config("demo", [f"run={tmp_path_factory.mktemp('runs') / 'built'}", *SCENES])
    folder = prepare(config)
    record_start(folder, config, "cold-start")
    return folder


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
    with pytest.raises(ConfigError, match=r"custom=rewards_beside:whole.*no plain function 'whole'"):
        check_reward(load_config("demo", ["rewards.custom=rewards_beside:whole"]))


def test_scenes_are_never_built_through_a_link_to_a_persons_folder(built: RunFolder, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(built.data, own)
    before = {file.name: file.read_bytes() for file in own.glob("*.jsonl")}
    folder = prepare(files_config(tmp_path, own))
    assert folder.data.is_symlink()
    prepare(load_config("demo", [f"run={folder.root}", *SCENES, "seed=7"]))
    assert not folder.data.is_symlink()
    assert {file.name: file.read_bytes() for file in own.glob("*.jsonl")} == before
    assert (folder.data / "train.jsonl").read_bytes() != before["train.jsonl"]
    assert folder.images.resolve() == folder.data / "images"


def test_scenes_make_way_for_a_folder_that_is_named_after_them(built: RunFolder, tmp_path: Path) -> None:
    folder = prepare(load_config("demo", [f"run={tmp_path / 'run'}", *SCENES, "seed=7"]))
    prepare(files_config(tmp_path, built.data))
    assert folder.data.resolve() == built.data
    assert (folder.earlier / "001" / "data" / "train.jsonl").is_file()


def test_nothing_is_built_over_files_that_a_person_put_there(built: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    shutil.copytree(built.data, folder.data, ignore=shutil.ignore_patterns("built.json"))
    before = (folder.data / "train.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="holds files that no run wrote"):
        prepare(load_config("demo", [f"run={folder.root}", *SCENES, "seed=7"]))
    with pytest.raises(ConfigError, match="holds files that no run wrote"):
        prepare(files_config(tmp_path, built.data))
    assert (folder.data / "train.jsonl").read_bytes() == before
    prepare(files_config(tmp_path, folder.data))  # trained on where they are
    assert not folder.data.is_symlink()


def test_a_trained_runs_scenes_stay_though_the_program_has_changed(
    built: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config("demo", [f"run={tmp_path / 'run'}", *SCENES, "data.num_train_scenes=2"])
    folder = prepare(config)
    stamp = folder.data / "built.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"program": "another"}, indent=1))
    folder.append_metrics({"step": 1})
    before = (folder.data / "train.jsonl").stat().st_mtime_ns
    prepare(config)
    assert (folder.data / "train.jsonl").stat().st_mtime_ns == before
    assert "another version of this program" in caplog.text


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "final_model", "evaluations/cold_start.jsonl"])
def test_a_link_where_a_run_writes_is_refused(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    link = folder.root / name
    link.parent.mkdir(exist_ok=True)
    if link.is_dir():
        link.rmdir()
    link.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=rf"{name} is a link"):
        prepare_folder(folder)


def test_a_folder_with_a_persons_files_where_a_run_writes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ConfigError, match=r"is not a run's folder.*\(data\)"):
        prepare_folder(RunFolder(tmp_path))
    (tmp_path / "data").rmdir()
    (tmp_path / "slurm.out").touch()  # in nobody's way
    prepare_folder(RunFolder(tmp_path))
    prepare_folder(RunFolder(tmp_path))


def test_a_base_model_of_another_model_is_made_again(built: RunFolder, tmp_path: Path) -> None:
    run = [f"run={tmp_path / 'run'}", *SCENES, "model={type: tiny}"]
    config = load_config("demo", run)
    folder = prepare(config)
    first = json.loads((prepare_base_model(config, folder) / "config.json").read_text())
    layers = first["text_config"]["num_hidden_layers"] + 1
    other = load_config("demo", [*run, f"model.text_layers={layers}"])
    second = json.loads((prepare_base_model(other, folder) / "config.json").read_text())
    assert second["text_config"]["num_hidden_layers"] == layers
    written = (folder.base_model / "config.json").stat().st_mtime_ns
    prepare_base_model(other, folder)
    assert (folder.base_model / "config.json").stat().st_mtime_ns == written


def test_the_advice_for_words_that_the_model_does_not_know_works_as_written(built: RunFolder, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(built.data, copy)
    row = json.loads((copy / "train.jsonl").read_text().splitlines()[0])
    with (copy / "train.jsonl").open("a") as file:
        file.write(json.dumps(row | {"sample_id": "odd", "question": "Which zyxomma is nearest?"}) + "\n")
    config = files_config(tmp_path, copy)
    folder = prepare(config)
    with pytest.raises(ConfigError, match=r"does not know .*zyxomma") as caught:
        prepare_base_model(config, folder)
    advised = str(caught.value).rpartition("all of it trained: ")[2].split()
    tiny = load_config("demo", [f"run={folder.root}", "data.type=files", f"data.folder={copy}", *advised])
    assert prepare_base_model(tiny, folder) == folder.base_model
    assert tiny.learner.freeze == tiny.learner.sft.freeze == ()


def test_a_model_that_is_not_there_is_told_before_data_are_made(tmp_path: Path) -> None:
    config = load_config("demo", [f"run={tmp_path / 'run'}", "model.path=/nonexist"])
    with pytest.raises(ConfigError, match=r"model\.path=/nonexist: there is no model folder"):
        Driver(config, Console())
    assert not (tmp_path / "run").exists()


def test_images_are_not_written_through_a_link_either(tmp_path: Path) -> None:
    config = load_config("demo", [f"run={tmp_path / 'run'}", *SCENES])
    folder = prepare(config)
    shutil.move(folder.data / "images", tmp_path / "moved")
    (folder.data / "images").symlink_to(tmp_path / "moved")
    before = sorted((tmp_path / "moved").rglob("*"))
    prepare(config)  # nothing is to be written
    with pytest.raises(ConfigError, match="images is a link"):
        prepare(load_config("demo", [f"run={tmp_path / 'run'}", *SCENES, "seed=7"]))
    assert sorted((tmp_path / "moved").rglob("*")) == before
