"""The keys of a config, as `sr-real config` and messages tell them."""

import pytest
from pydantic import BaseModel

from corpora.builder.config import BuildConfig
from corpora.importing.import_data import ImportConfig
from launch.settings.config import RunConfig
from launch.settings.faults import KNOWN_ELSEWHERE_AS
from launch.settings.schema import settings_of


@pytest.mark.parametrize("model", [RunConfig, BuildConfig, ImportConfig])
def test_every_setting_has_its_documentation(model: type[BaseModel]) -> None:
    assert [setting.key for setting in settings_of(model) if not setting.doc] == []


def test_settings_tell_type_default_and_where_they_belong() -> None:
    settings = {(setting.key, setting.only_if): setting for setting in settings_of(RunConfig)}
    rate = settings["learner.sft.optimizer.learning_rate", ""]
    assert (rate.kind, rate.default) == ("number > 0", "1e-05")
    assert settings["training.num_steps", ""].default == "required"
    assert settings["learner.policy_loss", ""].kind.startswith("section, type grpo | gspo")
    assert settings["learner.policy_loss.clip_low", "learner.policy_loss.type=gspo"].default == "0.0003"
    assert settings["data.scenes.room.depth_m", "data.type=scenes"].default == "[1.5, 5.0]"
    assert settings["training.benchmarks.N.limit", ""].kind == "whole number ≥ 1, or null"
    assert settings["training.groups_per_step", ""].kind == "mapping of lor | dtr | direct to whole number ≥ 0"


def test_names_of_other_trainers_lead_to_keys_that_exist() -> None:
    keys = {setting.key for setting in settings_of(RunConfig)}
    assert {key for meant in KNOWN_ELSEWHERE_AS.values() for key in meant} <= keys
