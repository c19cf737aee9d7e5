"""The reward of a config, loaded once before anything starts."""

import sys
from pathlib import Path

from launch.settings.config import ConfigError, RunConfig
from rewards.custom import load_reward


def check_reward(config: RunConfig) -> None:
    """Load the reward once: without this, a wrong name would be found after hours of cold start.

    Raises:
        ConfigError: it cannot be loaded.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        # Ray's workers find modules there, so this process has to.
        sys.path.append(here)
    try:
        load_reward(config.rewards)
    except ValueError as error:
        raise ConfigError(str(error)) from error
