"""The driver without its run: what it tells a person."""

from pathlib import Path

from rich.console import Console

from launch.run.driver import Driver
from launch.settings.config import load_config


def test_a_stop_names_a_checkpoint_only_where_there_is_one(tmp_path: Path) -> None:
    driver = Driver(load_config("demo", [f"run={tmp_path}"]), Console(quiet=True))
    for command, checkpoints in (("train", "checkpoints"), ("cold-start", "cold_start_checkpoints")):
        words = f"`sr-real {command} --resume run={tmp_path}`"
        assert driver._resumes(command)() == f"there is no checkpoint yet: {words} starts over"
        (tmp_path / checkpoints / "step-000001").mkdir(parents=True)
        assert driver._resumes(command)() == f"{words} continues from the last checkpoint"
