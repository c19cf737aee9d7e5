"""doctor says how large images may be, and whether that leaves room for anything else."""

import json
from pathlib import Path

import pytest

from launch.machine.image_sizes import check_images
from launch.settings.config import RunConfig, load_config

QWEN3 = {"size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16, "merge_size": 2}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(QWEN3))
    return tmp_path


def config_of(model: Path, *overrides: str) -> RunConfig:
    lengths = ["rollout.engine.max_model_len=4096", "rollout.sampling.max_response_tokens=1024"]
    return load_config("demo", [f"model={{type: checkpoint, path: {model}}}", *lengths, *overrides])


def test_images_as_large_as_the_model_allows_may_leave_no_room_and_the_budget_that_would_is_named(model: Path) -> None:
    (found,) = check_images(config_of(model))
    assert (found.name, found.status) == ("images", "warn")
    assert "16,777,216 pixels, 16,384 tokens each; 1 a prompt leave no room" in found.detail
    # Beside a response of 1,024 and 125 tokens of short instructions 2,947 are left.
    assert f"prompt.max_pixels={2947 * 1024} or less" in found.advice
    assert check_images(config_of(model, f"prompt.max_pixels={2947 * 1024}"))[0].status == "ok"
    assert check_images(config_of(model, f"prompt.max_pixels={2948 * 1024}"))[0].status == "warn"
    (two,) = check_images(config_of(model, "rollout.engine.max_images_per_prompt=2"))
    assert f"prompt.max_pixels={1473 * 1024} or less" in two.advice


def test_a_budget_that_leaves_room_is_told_in_tokens(model: Path) -> None:
    (found,) = check_images(config_of(model, "prompt.max_pixels=400000"))
    assert (found.status, found.detail) == ("ok", "at most 400,000 pixels, 390 tokens each")


def test_a_budget_that_the_model_cannot_keep_fails(model: Path) -> None:
    (found,) = check_images(config_of(model, "prompt.max_pixels=1000"))
    assert found.status == "fail"
    assert found.advice == "set prompt.max_pixels=1024 or more"


def test_nothing_is_said_about_a_model_that_is_not_here(tmp_path: Path) -> None:
    assert check_images(config_of(tmp_path / "lost")) == []
