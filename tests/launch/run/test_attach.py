"""How a process comes to speak with a run's cluster. The rest of `attached` is shown in `tests/cluster`."""

import os
import subprocess
import sys

import pytest

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
