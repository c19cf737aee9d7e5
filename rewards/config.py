"""The settings of the reward: how much each part weighs, by path and truth, and the steps of the centre reward."""

import math
import re
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from spatial.strict import StrictModel

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class AnswerWeights(StrictModel):
    """Weights of the parts of a reward without centres; they sum to 1."""

    accuracy: Share = 0.8
    """Weight of the answer's accuracy, 0 to 1."""
    format: Share = 0.2
    """Weight of the format: 1 for a response that follows its path's grammar, else 0."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        weights: dict[str, float] = dict(self)
        if not math.isclose(math.fsum(weights.values()), 1.0, abs_tol=1e-9):
            raise ValueError(f"weights {weights} sum to {math.fsum(weights.values())}, not to 1")
        return self


class GroundedWeights(AnswerWeights):
    """Weights of the parts of a reward with detected centres; they sum to 1."""

    format: Share = 0.1
    """Weight of the format: 1 for a response that follows its path's grammar, else 0."""
    center: Share = 0.1
    """Weight of the detected centres, whose score is 0 to 1."""


class CenterStep(StrictModel):
    """The score of a centre that is nearer to the true one than a distance."""

    below_m: Annotated[float, Field(gt=0.0)]
    """The distance between predicted and true centre must be below this; metres."""
    score: Share
    """Score of the object, 0 to 1."""


class RewardConfig(StrictModel):
    """How responses are scored. The defaults are the rewards of SR-REAL (docs/method.md, "Rewards")."""

    lor: AnswerWeights = AnswerWeights()
    """Weights for the paths without detection: language only (lor), and the answer alone (direct)."""
    dtr: GroundedWeights = GroundedWeights()
    """Weights for the detect-then-reason path if the true centre of every region is known."""
    dtr_without_truth: AnswerWeights = AnswerWeights()
    """Weights for the detect-then-reason path if a true centre is missing."""
    center_steps: Annotated[tuple[CenterStep, ...], Field(min_length=1)] = (
        CenterStep(below_m=0.1, score=1.0),
        CenterStep(below_m=0.2, score=0.8),
        CenterStep(below_m=0.3, score=0.6),
        CenterStep(below_m=0.4, score=0.4),
        CenterStep(below_m=0.6, score=0.2),
        CenterStep(below_m=1.0, score=0.1),
    )
    """Steps of the centre reward, nearest first. A centre gets the score of the first step that its distance is below,
    and 0 beyond the last."""
    released_code: bool = False
    """Score as the released code does, with its faults (`rewards/released.py`); for comparison only."""
    custom: str | None = None
    """A reward of your own in place of this one: "package.module:function", called with (text, path, sample)."""

    @model_validator(mode="after")
    def _steps_fall_with_distance(self) -> Self:
        for near, far in pairwise(self.center_steps):
            if not (near.below_m < far.below_m and near.score >= far.score):
                raise ValueError(
                    f"center_steps: below_m must rise and score must not, but ({near.below_m} m, {near.score}) "
                    f"comes before ({far.below_m} m, {far.score})"
                )
        return self

    @field_validator("custom")
    @classmethod
    def _custom_names_a_function(cls, custom: str | None) -> str | None:
        if custom is not None and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", custom):
            module, _, function = custom.replace(".py", "").replace("/", ".").replace(":", ".").rpartition(".")
            example = f"{module}:{function}" if module and function.isidentifier() else "my_rewards:my_reward"
            raise ValueError(
                f"{custom!r} does not name a function: write module:function, such as {example}. Python must find the "
                "module from the folder where the run starts"
            )
        return custom

    @model_validator(mode="after")
    def _one_reward_at_a_time(self) -> Self:
        if self.custom is not None and self.released_code:
            raise ValueError(f"released_code changes the built-in reward, but custom={self.custom!r} replaces it")
        return self
