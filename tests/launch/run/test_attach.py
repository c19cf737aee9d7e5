"""How a process comes to speak with a run's cluster. The rest of `attached` is shown in `tests/cluster`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.errors import CoordinatorGoneError, CoordinatorUnreachableError, NoAnswerError, RequestRefusedError
from launch.run.attach import attached, explaining
from launch.settings.config import ConfigError

LOOK = """
import ray
from ray._raylet import AuthenticationMode, get_authentication_mode
from launch.run.attach import _take_auth_mode

_take_auth_mode({mode!r})
print(get_authentication_mode() == AuthenticationMode.TOKEN)
"""


@pytest.mark.parametrize(
    ("told", "mode", "taken"),
    [(None, "token", "True"), (None, None, "False"), ("disabled", "token", "False")],
)
def test_the_cluster_s_mode_is_taken_though_ray_was_imported_before_unless_the_process_was_told_one(
    told: str | None, mode: str | None, taken: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    if told is not None:
        environment["RAY_AUTH_MODE"] = told
    looked = subprocess.run(
        [sys.executable, "-c", LOOK.format(mode=mode)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert looked.stdout.strip() == taken, looked.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RequestRefusedError("9 rollout workers: the run's config allows 1 to 4"), "config allows 1 to 4"),
        (NoAnswerError("the coordinator of runs/a did not answer 'scale' in 30 s"), "did not answer 'scale' in 30 s"),
        (CoordinatorGoneError("killed"), "not under way"),
        (CoordinatorUnreachableError("for now"), "not under way"),
    ],
)
def test_what_a_coordinator_cannot_do_is_a_command_s_error(tmp_path: Path, error: Exception, words: str) -> None:
    with pytest.raises(ConfigError, match=words), explaining(tmp_path):
        raise error


def test_a_run_that_is_not_under_way_has_no_coordinator_to_attach_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not under way"), attached(tmp_path):
        raise AssertionError
    (tmp_path / "coordinator.json").write_text("{")
    with pytest.raises(ConfigError, match=r"coordinator.json is damaged .*; remove it if the run is not under way"):
        attached(tmp_path).__enter__()
