"""How the rewards of a group become advantages."""

from typing import Annotated

from pydantic import Field

from learner.algorithms.advantages.dr_grpo import DrGrpoAdvantage
from learner.algorithms.advantages.grpo import GrpoAdvantage

AdvantageConfig = Annotated[GrpoAdvantage | DrGrpoAdvantage, Field(discriminator="type")]
