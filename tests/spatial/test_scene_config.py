"""The scene config refuses what makes no sense, and says what would."""

import pytest
from pydantic import ValidationError

from corpora.builder.config import KINDS as BUILDER_KINDS
from spatial.questions.kind import ReasonedKind
from spatial.questions.kinds import KINDS
from spatial.scenes.config import DIRECT_KINDS, LOR_KINDS, REGION_KINDS, ROOM, WHOLE_SCENE_KINDS, SceneConfig


def test_the_defaults_ask_all_kinds() -> None:
    config = SceneConfig()
    assert set(config.lor_weights) == set(LOR_KINDS)
    assert set(config.dtr_weights) == set(REGION_KINDS)
    assert set(config.direct_weights) == set(DIRECT_KINDS)


def test_the_lists_of_kinds_are_those_of_the_table() -> None:
    """A new kind of question is an entry in `spatial.questions.kinds` and in no other list."""
    assert sorted(DIRECT_KINDS) == sorted(name for name, kind in KINDS.items() if kind.brief is not None)
    assert set(LOR_KINDS) == {name for name in DIRECT_KINDS if isinstance(KINDS[name], ReasonedKind)}
    assert set(WHOLE_SCENE_KINDS) == {"count", "exists", "nearest", "leftmost"}
    assert set(REGION_KINDS) == set(LOR_KINDS) - set(WHOLE_SCENE_KINDS)
    assert sorted(BUILDER_KINDS) == sorted(name for name, kind in KINDS.items() if kind.full is not None)


def test_a_config_survives_json() -> None:
    config = SceneConfig(families=("room",), max_objects=3)
    assert SceneConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"lor_weights": {"closest_to_camera": 1.0}}', "did you mean 'closer_to_camera'"),
        ('{"dtr_weights": {"count": 1.0}}', "unknown kind 'count'"),
        ('{"lor_weights": {"depth": -1.0}}', "weight of 'depth' is -1.0"),
        ('{"dtr_weights": {"depth": 0.0}}', "dtr_weights are all 0"),
        ('{"lor_weights": {}}', "lor_weights are all 0"),
        ('{"min_objects": 4, "max_objects": 3}', "min_objects=4 is more than max_objects=3"),
        ('{"max_objects": 7}', "less than or equal to 6"),
        ('{"families": ["table"]}', "'tabletop' or 'room'"),
        ('{"families": ["room", "room"]}', "names one twice"),
        ('{"image_size": 128}', "image_size"),
        ('{"dtr_share": NaN}', "finite"),
    ],
)
def test_a_wrong_setting_is_named(text: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SceneConfig.model_validate_json(text)


def test_a_range_must_rise() -> None:
    with pytest.raises(ValidationError, match=r"depth_m=\[5.0, 1.5\]"):
        ROOM.replace(depth_m=(5.0, 1.5))
