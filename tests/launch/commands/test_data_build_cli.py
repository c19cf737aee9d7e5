"""`sr-real data build` as a person calls it, and a run that trains on what it made."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from actors.run.run_folder import RunFolder
from launch.commands.data_build_cli import load_build_config, register
from launch.run.prepare import prepare_data, prepare_folder
from launch.run.run_config import start_of_training
from launch.settings.config import ConfigError, load_config

SETTINGS = [
    "source.type=scenes",
    "source.num_images=30",
    "source.scenes.image_size_px=48",
    "source.scenes.min_visible_px=5",
    "splits.train=0.6",
    "splits.validation=0.2",
    "splits.test=0.2",
]


def call(*arguments: str) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["build", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_run_can_train_on_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "data"
    told = call(*SETTINGS, f"out={out}")
    assert "closer_to_camera" in told
    assert "images without a clear question" in told
    folder = RunFolder(tmp_path / "new")
    config = load_config("demo", [f"run={folder.root}", "data.type=files", f"data.folder={out}"])
    prepare_folder(folder)
    prepare_data(config, folder, num_workers=1, on_progress=lambda done, total: None)
    assert (folder.data / "train.jsonl").samefile(out / "train.jsonl")
    # As in `sr-real train --from OTHER/final_model run=new data.type=files data.folder=…`.
    model = tmp_path / "other" / "final_model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    assert start_of_training(folder, model, is_resumed=False, accept=False) == model
    assert call(*SETTINGS, f"out={out}").count("wrote") == 1


def test_settings_come_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "build.yaml"
    file.write_text("out: mine\nseed: 4\nsource: {type: scenes, num_images: 7}\nrewrite: {type: none}\n")
    config = load_build_config(file, ["seed=5", "paths=[lor]", "source={type: omni3d, file: a.json, images: b}"])
    assert (config.seed, config.paths, config.out) == (5, ("lor",), Path("mine"))
    assert config.source.type == "omni3d"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["source.type=scenes"], "out: missing"),
        (["out=x", "source.type=films"], "source.type: there is no type 'films'"),
        (["out=x", "source.type=scenes", "kinds.dept=1"], "unknown kind 'dept': did you mean 'depth'"),
        (["out=x", "source.type=scenes", "paths=[direct]"], "give lor, dtr or both"),
        (["out=x", "source.type=scenes", "splits.test=0.5"], "give shares that sum to 1"),
        (["out=x", "source.type=scenes", "rewrite.type=openai"], "rewrite.base_url: missing"),
    ],
)
def test_a_wrong_setting_is_told_in_words(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match="build: the settings cannot be used") as caught:
        load_build_config(None, overrides)
    assert told in str(caught.value)


def test_a_missing_file_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file or directory: .*set\.json"):
        call(f"out={tmp_path / 'out'}", "source.type=omni3d", f"source.file={tmp_path}/set.json", "source.images=.")
