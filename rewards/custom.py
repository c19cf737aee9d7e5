"""Finds the reward that a config asks for: the built-in one, or a function of the user's."""

import importlib
import inspect
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flow.score import Score
from rewards.config import RewardConfig
from rewards.reward import score_response
from rewards.score_check import plain_score
from spatial.sample import ReasoningPath, SpatialSample

Reward = Callable[[str, ReasoningPath, SpatialSample], Score]


def load_reward(config: RewardConfig) -> Reward:
    """The reward of `config`, called as `reward(text, path, sample)`; it can be pickled.

    A custom one is written by the user::

        def my_reward(text: str, path: ReasoningPath, sample: SpatialSample) -> Score: ...

    What it returns is checked: anything but a `Score` of numbers in [0, 1] raises `ScoreError`.

    Raises:
        ValueError: `custom` cannot be imported, is not a plain function, or does not take these three arguments.
    """
    if config.custom is None:
        return partial(score_response, config=config)
    module_name, _, function_name = config.custom.partition(":")
    field = f"rewards.custom={config.custom}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = "the module" if error.name == module_name else f"the module {error.name!r} that it imports"
        raise ValueError(f"{field}: {missing} was not found; start in the folder that holds it") from error
    except Exception as error:  # A user's module may raise anything; the message must name the field.
        raise ValueError(f"{field}: cannot import module {module_name!r}: {error!r}") from error
    reward = getattr(module, function_name, None)
    if not inspect.isfunction(reward) or inspect.iscoroutinefunction(reward):
        raise ValueError(f"{field}: {module_name!r} has no plain function {function_name!r}")
    signature = inspect.signature(reward)
    try:
        signature.bind("", ReasoningPath.LOR, None)
    except TypeError as error:
        raise ValueError(
            f"{field}: must be callable as (text: str, path: ReasoningPath, sample: SpatialSample) -> Score, "
            f"but its signature is {signature}"
        ) from error
    return partial(_checked, reward)


def _checked(reward: Reward, text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
    return plain_score(reward(text, path, sample), sample.sample_id)


def line_of(error: Exception) -> str:
    """Where a reward raised an error, such as "my_rewards.py:7": the innermost line in the reward's own file."""
    frames = traceback.extract_tb(error.__traceback__)
    callers = [place for place, frame in enumerate(frames) if frame.filename == __file__]
    inside = frames[callers[-1] + 1 :] if callers else []
    last = next((frame for frame in reversed(inside) if frame.filename == inside[0].filename), frames[-1])
    return f"{Path(last.filename).name}:{last.lineno}"
